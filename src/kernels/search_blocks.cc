#include "kernels/search_blocks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/search_blocks.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include <algorithm>

#include "core/half.h"
#include "kernels/affine_search-inl.h"
#include "kernels/dispatch.h"
#include "kernels/lanes-inl.h"
#include "kernels/small_blocks-inl.h"
#include "kernels/symmetric_search-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

constexpr std::size_t kBlock = 32;

void MeanSquaresOfRows(const float* values, std::size_t rows, std::size_t cols, float* out) {
  const std::size_t n = LaneCount();
  HWY_ALIGN float x[4 * kMaxLanes];
  for (std::size_t first = 0; first < rows; first += n) {
    const BlockGroup group({values, rows, cols, nullptr, cols}, first, n);
    VF sum = Zero();
    for (std::size_t col = 0; col < cols; col += 4) {
      TransposeFour(group.values.data(), col, x);
      for (std::size_t i = 0; i < 4; ++i) {
        const VF value = LoadLanes(x + i * n);
        sum = hn::Add(sum, hn::Mul(value, value));
      }
    }
    HWY_ALIGN float means[kMaxLanes];
    StoreLanes(hn::Div(sum, Set(static_cast<float>(cols))), means);
    std::copy_n(means, group.count, out + first);
  }
}

// weight = importance * sqrt(mean square of the row + x^2), into `weight`, which is transposed.
HWY_INLINE void FillValuesAndWeights(const BlockRows& rows, const float* mean_squares,
                                     std::size_t first, const BlockGroup& group, float* x,
                                     float* weight) {
  HWY_ALIGN float means[kMaxLanes];
  for (std::size_t lane = 0; lane < kMaxLanes; ++lane) {
    const std::size_t block = first + std::min(lane, group.count - 1);
    means[lane] = mean_squares[block / (rows.cols / kBlock)];
  }
  const VF mean = LoadLanes(means);
  LoadTransposed(group.values.data(), 0, kBlock, x);
  LoadTransposed(group.importance.data(), 0, kBlock, weight);
  for (std::size_t i = 0; i < kBlock * LaneCount(); i += LaneCount()) {
    const VF value = LoadLanes(x + i);
    const VF root = hn::Sqrt(hn::Add(mean, hn::Mul(value, value)));
    StoreLanes(hn::Mul(LoadLanes(weight + i), root), weight + i);
  }
}

void SearchSymmetricBlocks(const BlockRows& rows, const float* mean_squares, std::size_t first,
                           std::size_t count, int levels, SmallBlock* out) {
  const std::size_t n = LaneCount();
  SymmetricValues v;
  v.size = rows.block_size;  // not a constant: unrolled searches run at less than half the speed
  HWY_ALIGN float scale[kMaxLanes], inverse[kMaxLanes], zero[kMaxLanes];
  for (std::size_t done = 0; done < count; done += n) {
    const BlockGroup group(rows, first + done, n);
    FillValuesAndWeights(rows, mean_squares, first + done, group, v.x, v.weight);
    const SymmetricFit fit = SearchSymmetric<false>(v, levels);
    StoreLanes(fit.scale, scale);
    StoreLanes(fit.inverse, inverse);
    StoreLanes(SelectOrZero(fit.zero, Set(1.0f)), zero);
    for (std::size_t lane = 0; lane < std::min(n, count - done); ++lane) {
      SmallBlock& block = out[done + lane];
      block = {float_to_half(scale[lane]), 0, 0, {}};
      if (zero[lane] != 0.0f) continue;
      const auto code = [&](std::size_t i) {
        const VF scaled = hn::Mul(Set(inverse[lane]), LoadLanes(group.values[lane] + i));
        return hn::Add(NearestIntClamped(scaled, -levels, levels - 1), hn::Set(DI(), levels));
      };
      for (std::size_t i = 0; i < kBlock / 2; i += n) {
        PackCodes(code(i), code(i + kBlock / 2), i, block);
      }
    }
  }
}

void SearchAffineBlocks(const BlockRows& rows, const float* mean_squares, std::size_t first,
                        std::size_t count, int levels, SmallBlock* out) {
  const std::size_t n = LaneCount();
  AffineValues v;
  v.size = rows.block_size;  // not a constant: unrolled searches run at less than half the speed
  HWY_ALIGN float scale[kMaxLanes], low[kMaxLanes], inverse[kMaxLanes], origin[kMaxLanes];
  for (std::size_t done = 0; done < count; done += n) {
    const BlockGroup group(rows, first + done, n);
    FillValuesAndWeights(rows, mean_squares, first + done, group, v.x, v.weight);
    const AffineFit fit =
        SearchAffine<false, Rounding::kClampThenRound>(v, levels, kTrialsWithImportance);
    StoreLanes(fit.scale, scale);
    StoreLanes(fit.low, low);
    StoreLanes(fit.inverse, inverse);
    StoreLanes(fit.origin, origin);
    for (std::size_t lane = 0; lane < std::min(n, count - done); ++lane) {
      SmallBlock& block = out[done + lane];
      block = {float_to_half(scale[lane]), float_to_half(low[lane]), 0, {}};
      const auto code = [&](std::size_t i) {
        const VF shifted = hn::Sub(LoadLanes(group.values[lane] + i), Set(origin[lane]));
        const VF scaled = hn::Mul(Set(inverse[lane]), shifted);
        return hn::ConvertTo(DI(), RoundToCode<Rounding::kClampThenRound>(scaled, levels));
      };
      for (std::size_t i = 0; i < kBlock / 2; i += n) {
        PackCodes(code(i), code(i + kBlock / 2), i, block);
      }
    }
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(MeanSquaresOfRows);
HWY_EXPORT(SearchSymmetricBlocks);
HWY_EXPORT(SearchAffineBlocks);

void search_symmetric(const BlockRows& rows, const float* mean_squares, std::size_t first,
                      std::size_t count, int levels, SmallBlock* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(SearchSymmetricBlocks)(rows, mean_squares, first, count, levels, out);
}

void search_affine(const BlockRows& rows, const float* mean_squares, std::size_t first,
                   std::size_t count, int levels, SmallBlock* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(SearchAffineBlocks)(rows, mean_squares, first, count, levels, out);
}

void mean_squares_of_rows(const float* values, std::size_t rows, std::size_t cols, float* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(MeanSquaresOfRows)(values, rows, cols, out);
}

}  // namespace qwodel
#endif  // HWY_ONCE
