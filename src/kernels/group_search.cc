#include "kernels/group_search.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/group_search.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include <algorithm>
#include <vector>

#include "core/half.h"
#include "kernels/dispatch.h"
#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

// The groups of one vector, transposed.
struct GroupLanes {
  std::vector<float> x, weight;  // [size, lanes]; weight is empty for 1
  std::size_t size = 0;
  float top = 15;  // largest code

  void Load(const BlockGroup& group, std::size_t block_size) {
    size = block_size;
    x.resize(size * LaneCount());
    LoadTransposed(group.values.data(), 0, size, x.data());
    if (group.importance[0] == nullptr) return;
    weight.resize(size * LaneCount());
    LoadTransposed(group.importance.data(), 0, size, weight.data());
  }
  VF X(std::size_t i) const { return LoadLanes(x.data() + i * LaneCount()); }
  VF Weighted(std::size_t i, VF value) const {
    return weight.empty() ? value : hn::Mul(LoadLanes(weight.data() + i * LaneCount()), value);
  }
};

struct GroupFit {
  VF scale, zero, error;
};

HWY_INLINE VF StoredScale(VF scale, ScaleFormat format) {
  HWY_ALIGN float lanes[kMaxLanes];
  StoreLanes(scale, lanes);
  for (std::size_t i = 0; i < LaneCount(); ++i) lanes[i] = stored_scale(lanes[i], format);
  return LoadLanes(lanes);
}

HWY_INLINE VF CodeOf(VF x, VF inverse, VF zero, VF top) {
  const VF code = hn::Add(hn::Round(hn::Mul(x, inverse)), zero);
  return hn::Min(hn::Max(code, Zero()), top);
}

// Sum of weighted squared errors.
HWY_INLINE VF ErrorOf(const GroupLanes& v, VF scale, VF zero) {
  const VF inverse = hn::Div(Set(1.0f), scale);
  const VF top = Set(v.top);
  VF sum = Zero();
  for (std::size_t i = 0; i < v.size; ++i) {
    const VF x = v.X(i);
    const VF decoded = hn::Mul(hn::Sub(CodeOf(x, inverse, zero, top), zero), scale);
    const VF error = hn::Sub(decoded, x);
    sum = hn::Add(sum, v.Weighted(i, hn::Mul(error, error)));
  }
  return sum;
}

HWY_INLINE void KeepBetter(const GroupLanes& v, VF scale, VF zero, GroupFit* best) {
  const VF error = ErrorOf(v, scale, zero);
  const MF better = hn::Lt(error, best->error);
  Replace(better, scale, &best->scale);
  Replace(better, zero, &best->zero);
  Replace(better, error, &best->error);
}

// The least-squares scale for the codes that the best parameters give; twice, as codes move.
HWY_INLINE void RefineScale(const GroupLanes& v, ScaleFormat format, GroupFit* best) {
  for (int round = 0; round < 2; ++round) {
    const VF inverse = hn::Div(Set(1.0f), best->scale);
    VF products = Zero();
    VF squares = Zero();
    for (std::size_t i = 0; i < v.size; ++i) {
      const VF x = v.X(i);
      const VF level = hn::Sub(CodeOf(x, inverse, best->zero, Set(v.top)), best->zero);
      products = hn::Add(products, v.Weighted(i, hn::Mul(x, level)));
      squares = hn::Add(squares, v.Weighted(i, hn::Mul(level, level)));
    }
    const VF scale = Select(hn::Gt(squares, Zero()), hn::Div(products, squares), best->scale);
    KeepBetter(v, StoredScale(scale, format), best->zero, best);
  }
}

struct GroupRange {
  VF low, high;
};

// Smallest and largest value, and 0.
HWY_INLINE GroupRange RangeOf(const GroupLanes& v) {
  GroupRange range{Zero(), Zero()};
  for (std::size_t i = 0; i < v.size; ++i) {
    range.low = hn::Min(range.low, v.X(i));
    range.high = hn::Max(range.high, v.X(i));
  }
  return range;
}

// How far ranges are shrunk: few codes gain from clipping more.
HWY_INLINE float SmallestShrink(unsigned bits) {
  return bits >= 4 ? 0.6f : bits == 3 ? 0.4f : 0.25f;
}

constexpr float kShrinkStep = 0.02f;

HWY_INLINE GroupFit FitSymmetric(const GroupLanes& v, const GroupSearch& options) {
  const GroupRange range = RangeOf(v);
  const VF largest = hn::Max(hn::Neg(range.low), range.high);
  // 2 max / (2^bits - 1); a group of zeros is taken as [-1, 1] (GPTQ's quantizer).
  const VF extent = Select(hn::Gt(largest, Zero()), hn::Add(largest, largest), Set(2.0f));
  const VF plain = hn::Div(extent, Set(v.top));
  const VF zero = Set((v.top + 1) / 2);
  GroupFit best{StoredScale(plain, options.format), zero, Zero()};
  if (!options.search) return best;
  best.error = ErrorOf(v, best.scale, zero);
  for (float shrink = 1.08f; shrink > SmallestShrink(options.bits); shrink -= kShrinkStep) {
    const VF scale = StoredScale(hn::Mul(plain, Set(shrink)), options.format);
    KeepBetter(v, scale, zero, &best);
    if (options.signed_scale) KeepBetter(v, hn::Neg(scale), zero, &best);
  }
  RefineScale(v, options.format, &best);
  return best;
}

HWY_INLINE VF ZeroFor(VF low, VF scale, VF top) {
  const VF zero = hn::Round(hn::Neg(hn::Div(low, scale)));
  return hn::Min(hn::Max(zero, Zero()), top);
}

HWY_INLINE GroupFit FitAsymmetric(const GroupLanes& v, const GroupSearch& options) {
  const GroupRange range = RangeOf(v);
  const VF top = Set(v.top);
  const MF empty = hn::Not(hn::Lt(range.low, range.high));
  const VF low = Select(empty, Set(-1.0f), range.low);
  const VF extent = hn::Sub(Select(empty, Set(1.0f), range.high), low);
  const VF plain = StoredScale(hn::Div(extent, top), options.format);
  GroupFit best{plain, ZeroFor(low, plain, top), Zero()};
  if (!options.search) return best;
  best.error = ErrorOf(v, best.scale, best.zero);
  for (float shrink = 1.04f; shrink > SmallestShrink(options.bits); shrink -= kShrinkStep) {
    const VF scale = StoredScale(hn::Div(hn::Mul(extent, Set(shrink)), top), options.format);
    KeepBetter(v, scale, ZeroFor(hn::Mul(low, Set(shrink)), scale, top), &best);
  }
  RefineScale(v, options.format, &best);
  for (const float step : {1.0f, -1.0f}) {
    const VF moved = hn::Min(hn::Max(hn::Add(best.zero, Set(step)), Zero()), top);
    KeepBetter(v, best.scale, moved, &best);
  }
  RefineScale(v, options.format, &best);
  return best;
}

void FitGroups(const BlockRows& rows, std::size_t first, std::size_t count,
               const GroupSearch& options, float* scales, std::uint8_t* zeros) {
  const std::size_t n = LaneCount();
  HWY_ALIGN float scale[kMaxLanes], zero[kMaxLanes];
  GroupLanes lanes;
  lanes.top = static_cast<float>((1u << options.bits) - 1);
  for (std::size_t done = 0; done < count; done += n) {
    lanes.Load(BlockGroup(rows, first + done, n), rows.block_size);
    const GroupFit fit =
        options.symmetric ? FitSymmetric(lanes, options) : FitAsymmetric(lanes, options);
    StoreLanes(fit.scale, scale);
    StoreLanes(fit.zero, zero);
    for (std::size_t lane = 0; lane < std::min(n, count - done); ++lane) {
      scales[done + lane] = scale[lane];
      zeros[done + lane] = static_cast<std::uint8_t>(zero[lane]);
    }
  }
}

// Calls use(offset, count, values, codes) for runs of `count` values of a block.
template <class Use>
HWY_INLINE void ForCodes(const float* x, std::size_t size, VF scale, VF zero, VF top,
                         const Use& use) {
  const std::size_t n = LaneCount();
  for (std::size_t i = 0; i < size; i += n) {
    HWY_ALIGN float tail[kMaxLanes] = {};
    const std::size_t part = std::min(n, size - i);
    if (part < n) std::copy_n(x + i, part, tail);
    const VF value = part < n ? LoadLanes(tail) : LoadLanes(x + i);
    const VF code = hn::Add(hn::Round(hn::Div(value, scale)), zero);
    use(i, part, value, hn::Min(hn::Max(code, Zero()), top));
  }
}

void RoundGroups(const BlockRows& rows, std::size_t first, std::size_t count, unsigned bits,
                 const float* scales, const std::uint8_t* zeros, std::uint8_t* codes) {
  const VF top = Set(static_cast<float>((1u << bits) - 1));
  for (std::size_t block = 0; block < count; ++block) {
    std::uint8_t* const to = codes + block * rows.block_size;
    const VF zero = Set(static_cast<float>(zeros[block]));
    ForCodes(rows.values + (first + block) * rows.block_size, rows.block_size, Set(scales[block]),
             zero, top, [&](std::size_t at, std::size_t part, VF, VF code) {
               std::uint8_t bytes[kMaxLanes];
               const bool whole = part == LaneCount();
               StoreBytes(hn::ConvertTo(DI(), code), whole ? to + at : bytes);
               if (!whole) std::copy_n(bytes, part, to + at);
             });
  }
}

void GroupErrors(const BlockRows& rows, std::size_t first, std::size_t count, unsigned bits,
                 const float* scales, const std::uint8_t* zeros, float* errors) {
  const VF top = Set(static_cast<float>((1u << bits) - 1));
  for (std::size_t block = 0; block < count; ++block) {
    float* const to = errors + block * rows.block_size;
    const VF scale = Set(scales[block]);
    const VF zero = Set(static_cast<float>(zeros[block]));
    ForCodes(rows.values + (first + block) * rows.block_size, rows.block_size, scale, zero, top,
             [&](std::size_t at, std::size_t part, VF value, VF code) {
               HWY_ALIGN float lanes[kMaxLanes];
               const bool whole = part == LaneCount();
               const VF decoded = hn::Mul(hn::Sub(code, zero), scale);
               StoreLanes(hn::Sub(decoded, value), whole ? to + at : lanes);
               if (!whole) std::copy_n(lanes, part, to + at);
             });
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(FitGroups);
HWY_EXPORT(RoundGroups);
HWY_EXPORT(GroupErrors);

void fit_groups(const BlockRows& rows, std::size_t first, std::size_t count,
                const GroupSearch& options, float* scales, std::uint8_t* zeros) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(FitGroups)(rows, first, count, options, scales, zeros);
}

void round_groups(const BlockRows& rows, std::size_t first, std::size_t count, unsigned bits,
                  const float* scales, const std::uint8_t* zeros, std::uint8_t* codes) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(RoundGroups)(rows, first, count, bits, scales, zeros, codes);
}

void group_errors(const BlockRows& rows, std::size_t first, std::size_t count, unsigned bits,
                  const float* scales, const std::uint8_t* zeros, float* errors) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(GroupErrors)(rows, first, count, bits, scales, zeros, errors);
}

}  // namespace qwodel
#endif  // HWY_ONCE
