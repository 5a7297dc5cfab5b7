#include "kernels/palette_feedback.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/palette_feedback.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include <array>

#include "kernels/dispatch.h"
#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

// How many of the 2^bits - 1 middles of the lane's table, which begins at `table`, are below
// weight.
HWY_INLINE VI FindEntry(const float* middles, VI table, VF weight, unsigned bits) {
  const DF df;
  const DI di;
  VI found = hn::Zero(di);
  for (std::int32_t step = std::int32_t{1} << (bits - 1); step > 0; step /= 2) {
    const VI probe = hn::Add(found, hn::Set(di, step));
    const VF middle = hn::GatherIndex(df, middles, hn::Add(table, hn::Sub(probe, hn::Set(di, 1))));
    found = hn::IfThenElse(hn::RebindMask(di, hn::Lt(middle, weight)), probe, found);
  }
  return found;
}

HWY_INLINE VI FirstEntries(const PaletteTables& tables, std::size_t row, unsigned bits) {
  std::array<std::int32_t, kMaxLanes> first{};
  for (std::size_t lane = 0; lane < LaneCount(); ++lane) {
    const std::size_t table = (tables.offset + row + lane) / tables.group_rows;
    first[lane] = static_cast<std::int32_t>(table << bits);
  }
  return hn::LoadU(DI(), first.data());
}

void FeedBackPalettes(const FeedbackBlock& block, const PaletteTables& tables) {
  for (std::size_t row = 0; row < block.rows; row += LaneCount()) {
    const VI first = FirstEntries(tables, row, block.bits);
    for (std::size_t i = 0; i < block.columns; ++i) {
      const std::size_t at = i * block.rows + row;
      const VF weight = LoadLanes(block.weights + at);
      const VI code = FindEntry(tables.middles, first, weight, block.bits);
      const VF decoded = hn::GatherIndex(DF(), tables.entries, hn::Add(first, code));
      const float* upper = block.upper + i * block.upper_stride;
      const VF error = hn::Div(hn::Sub(weight, decoded), Set(upper[i]));
      StoreLanes(error, block.errors + at);
      StoreBytes(code, block.codes + at);
      for (std::size_t j = i + 1; j < block.columns; ++j) {
        float* later = block.weights + j * block.rows + row;
        StoreLanes(hn::NegMulAdd(error, Set(upper[j]), LoadLanes(later)), later);
      }
    }
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(FeedBackPalettes);

void feed_back_palettes(const FeedbackBlock& block, const PaletteTables& tables) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(FeedBackPalettes)(block, tables);
}

}  // namespace qwodel
#endif  // HWY_ONCE
