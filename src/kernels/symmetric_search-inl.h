// Searches of the symmetric encodings x ~ scale * code, code = -levels ... levels - 1, one block
// per lane: make_qx_quants and make_q3_quants of llama.cpp's ggml-quants.c (MIT, "The ggml
// authors") restated over vectors. Included once per target, after highway.h.

#if defined(QWODEL_KERNELS_SYMMETRIC_SEARCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QWODEL_KERNELS_SYMMETRIC_SEARCH_INL_H_
#undef QWODEL_KERNELS_SYMMETRIC_SEARCH_INL_H_
#else
#define QWODEL_KERNELS_SYMMETRIC_SEARCH_INL_H_
#endif

#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

// Below this magnitude the reference takes a block for zero.
inline constexpr float kZeroBlock = 1e-15f;

// `size` values of each lane and their weights: [i * LaneCount() + lane].
struct SymmetricValues {
  HWY_ALIGN float x[32 * kMaxLanes];
  HWY_ALIGN float weight[32 * kMaxLanes];
  std::size_t size;
};

struct SymmetricFit {
  VF scale;
  VF inverse;  // code = clamp(round(inverse * x), -levels, levels - 1)
  MF zero;     // the lane is zero: scale 0; the reference stores the lowest code
};

struct WeightedSums {
  VF lx, l2;
};

// The value of the largest magnitude; the first of equals counts.
HWY_INLINE VF Peak(const float* x, std::size_t size, VF* magnitude) {
  VF peak = Zero();
  *magnitude = Zero();
  for (std::size_t i = 0; i < size; ++i) {
    const VF value = LoadLanes(x + i * LaneCount());
    const MF larger = hn::Gt(hn::Abs(value), *magnitude);
    Replace(larger, hn::Abs(value), magnitude);
    Replace(larger, value, &peak);
  }
  return peak;
}

// kAnyRange: the rounding argument may leave the range in which nearest_int is the nearest integer.
template <bool kAnyRange>
HWY_INLINE VF ClampedCode(VF scaled, int levels) {
  if constexpr (kAnyRange) return ToFloat(NearestIntClamped(scaled, -levels, levels - 1));
  const VF bottom = Set(static_cast<float>(-levels));
  const VF top = Set(static_cast<float>(levels - 1));
  return hn::Max(bottom, hn::Min(top, RoundHalfEven(scaled)));
}

template <bool kAnyRange>
HWY_INLINE WeightedSums SumCodes(const SymmetricValues& v, VF inverse, int levels) {
  WeightedSums sums{Zero(), Zero()};
  for (std::size_t i = 0; i < v.size; ++i) {
    const VF x = LoadLanes(v.x + i * LaneCount());
    const VF w = LoadLanes(v.weight + i * LaneCount());
    const VF l = ClampedCode<kAnyRange>(hn::Mul(inverse, x), levels);
    sums.lx = hn::Add(sums.lx, hn::Mul(hn::Mul(w, x), l));
    sums.l2 = hn::Add(sums.l2, hn::Mul(hn::Mul(w, l), l));
  }
  return sums;
}

// make_qx_quants: the best of nineteen scales about -levels / peak, each refitted by least squares.
template <bool kAnyRange>
HWY_NOINLINE SymmetricFit SearchSymmetric(const SymmetricValues& v, int levels) {
  VF magnitude;
  VF peak = Peak(v.x, v.size, &magnitude);
  SymmetricFit fit;
  fit.zero = hn::Lt(magnitude, Set(kZeroBlock));
  Replace(fit.zero, Set(1.0f), &peak);
  fit.inverse = hn::Div(Set(static_cast<float>(-levels)), peak);
  const WeightedSums base = SumCodes<kAnyRange>(v, fit.inverse, levels);
  fit.scale = SelectOrZero(NotEqual(base.l2, Zero()), hn::Div(base.lx, base.l2));
  VF best = hn::Mul(fit.scale, base.lx);
  for (int i = -9; i <= 9; ++i) {
    if (i == 0) continue;
    const float target = -(static_cast<float>(levels) + 0.1f * static_cast<float>(i));
    const VF inverse = hn::Div(Set(target), peak);
    const WeightedSums sums = SumCodes<kAnyRange>(v, inverse, levels);
    const MF better =
        hn::And(hn::Gt(sums.l2, Zero()), hn::Gt(hn::Mul(sums.lx, sums.lx), hn::Mul(best, sums.l2)));
    Replace(better, hn::Div(sums.lx, sums.l2), &fit.scale);
    Replace(better, hn::Mul(fit.scale, sums.lx), &best);
    Replace(better, inverse, &fit.inverse);
  }
  Replace(fit.zero, Zero(), &fit.scale);
  return fit;
}

// Blocks whose descents run side by side, to hide the latency of their dependent steps.
inline constexpr std::size_t kDescents = 4;

// One coordinate step of make_q3_quants on value i of a block; returns the lanes that changed.
HWY_INLINE MF DescendOne(VF x, float* code, int levels, WeightedSums& sums) {
  const VF w = hn::Mul(x, x);
  const VF wx = hn::Mul(w, x);
  const VF old_code = LoadLanes(code);
  VF lx = hn::Sub(sums.lx, hn::Mul(wx, old_code));
  VF l2 = hn::Sub(sums.l2, hn::Mul(hn::Mul(w, old_code), old_code));
  const MF usable = hn::Gt(lx, Zero());
  const VF next = ToFloat(NearestIntClamped(hn::Div(hn::Mul(x, l2), lx), -levels, levels - 1));
  const MF candidate = hn::And(usable, NotEqual(next, old_code));
  if (!AnyLane(candidate)) return candidate;
  lx = hn::Add(lx, hn::Mul(wx, next));
  l2 = hn::Add(l2, hn::Mul(hn::Mul(w, next), next));
  const MF gain = hn::And(hn::Gt(l2, Zero()), hn::Gt(hn::Mul(hn::Mul(lx, lx), sums.l2),
                                                     hn::Mul(hn::Mul(sums.lx, sums.lx), l2)));
  const MF better = hn::And(candidate, gain);
  Replace(better, lx, &sums.lx);
  Replace(better, l2, &sums.l2);
  StoreLanes(Select(better, next, old_code), code);
  return better;
}

// make_q3_quants on kDescents blocks of `size` values each, one after the other in `x`: weights
// x^2, codes to `code` (same layout), scales to `scale`.
HWY_NOINLINE inline void DescendSymmetric(const float* x, std::size_t size, int levels, float* code,
                                          VF* scale) {
  const std::size_t n = LaneCount();
  WeightedSums sums[kDescents];
  MF zero[kDescents];
  for (std::size_t b = 0; b < kDescents; ++b) {
    VF magnitude;
    VF peak = Peak(x + b * size * n, size, &magnitude);
    zero[b] = hn::Lt(magnitude, Set(kZeroBlock));
    Replace(zero[b], Set(1.0f), &peak);
    const VF inverse = hn::Div(Set(static_cast<float>(-levels)), peak);
    sums[b] = {Zero(), Zero()};
    for (std::size_t i = 0; i < size; ++i) {
      const VF value = LoadLanes(x + (b * size + i) * n);
      const VF w = hn::Mul(value, value);
      const VF l = ClampedCode<false>(hn::Mul(inverse, value), levels);
      StoreLanes(l, code + (b * size + i) * n);
      sums[b].lx = hn::Add(sums[b].lx, hn::Mul(hn::Mul(w, value), l));
      sums[b].l2 = hn::Add(sums[b].l2, hn::Mul(hn::Mul(w, l), l));
    }
  }
  // A block in which a round changed nothing stays as it is in the rounds to come.
  std::size_t active[kDescents] = {0, 1, 2, 3};
  std::size_t count = kDescents;
  for (int round = 0; round < 5 && count > 0; ++round) {
    bool changed[kDescents] = {};
    for (std::size_t i = 0; i < size; ++i) {
      for (std::size_t k = 0; k < count; ++k) {
        const std::size_t b = active[k];
        const std::size_t at = (b * size + i) * n;
        const MF better = DescendOne(LoadLanes(x + at), code + at, levels, sums[b]);
        changed[b] = AnyLane(better) || changed[b];
      }
    }
    count = 0;
    for (std::size_t b = 0; b < kDescents; ++b) {
      if (changed[b]) active[count++] = b;
    }
  }
  for (std::size_t b = 0; b < kDescents; ++b) {
    const MF positive = hn::AndNot(zero[b], hn::Gt(sums[b].l2, Zero()));
    scale[b] = SelectOrZero(positive, hn::Div(sums[b].lx, sums[b].l2));
    for (std::size_t i = 0; i < size; ++i) {
      float* at = code + (b * size + i) * n;
      StoreLanes(Select(zero[b], Set(static_cast<float>(-levels)), LoadLanes(at)), at);
    }
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
