// Searches of the affine encodings, one block per lane: make_qkx2_quants, make_qkx3_quants and
// make_qp_quants of llama.cpp's ggml-quants.c (MIT, "The ggml authors") restated over vectors.
// Included once per target, after highway.h.

#if defined(QWODEL_KERNELS_AFFINE_SEARCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QWODEL_KERNELS_AFFINE_SEARCH_INL_H_
#undef QWODEL_KERNELS_AFFINE_SEARCH_INL_H_
#else
#define QWODEL_KERNELS_AFFINE_SEARCH_INL_H_
#endif

#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

inline constexpr std::size_t kMaxSubBlock = 32;

// `size` values of each lane, their weights, and room for codes: [i * LaneCount() + lane].
struct AffineValues {
  HWY_ALIGN float x[kMaxSubBlock * kMaxLanes];
  HWY_ALIGN float weight[kMaxSubBlock * kMaxLanes];
  HWY_ALIGN float code[kMaxSubBlock * kMaxLanes];
  std::size_t size;
};

// Which scales are tried: (levels + first + i * step) / (max - min) for i = 0 ... steps.
struct AffineTrials {
  float first;
  float step;
  int steps;
};

// The trials of make_qkx3_quants, for all encodings.
inline constexpr AffineTrials kTrialsWithImportance = {-0.9f, 0.05f, 36};

// x ~ scale * code + low, low <= 0, code = RoundToCode(inverse * (x - origin)).
struct AffineFit {
  VF scale, low;
  VF inverse, origin;
  VF weight_sum;
};

struct AffineState {
  VF min, max, lowest;  // min moves with the best fit, lowest stays
  VF sum_w, sum_x;
  MF flat;
};

HWY_INLINE AffineState Extremes(const AffineValues& v) {
  const std::size_t n = LaneCount();
  AffineState state;
  state.min = state.max = LoadLanes(v.x);
  state.sum_w = LoadLanes(v.weight);
  state.sum_x = hn::Mul(state.sum_w, state.min);
  for (std::size_t i = 1; i < v.size; ++i) {
    const VF x = LoadLanes(v.x + i * n);
    const VF w = LoadLanes(v.weight + i * n);
    state.min = KeepLower(state.min, x);
    state.max = KeepHigher(state.max, x);
    state.sum_w = hn::Add(state.sum_w, w);
    state.sum_x = hn::Add(state.sum_x, hn::Mul(w, x));
  }
  state.lowest = state.min;
  Replace(hn::Gt(state.min, Zero()), Zero(), &state.min);
  state.flat = hn::Le(state.max, state.min);
  return state;
}

struct CodeSums {
  VF l, l2, xl;
};

// How an argument becomes a code. make_qkx2_quants rounds and clamps the result, so that arguments
// beyond 2^22 become what nearest_int makes of them; the trials of make_qkx3_quants (since 2026)
// clamp and round the result, NaN giving 0. All are the same where arguments are moderate.
enum class Rounding { kModerate, kRoundThenClamp, kClampThenRound };

template <Rounding kRounding>
HWY_INLINE VF RoundToCode(VF v, int levels) {
  const VF top = Set(static_cast<float>(levels));
  if constexpr (kRounding == Rounding::kRoundThenClamp) {
    return ToFloat(NearestIntClamped(v, 0, levels));
  } else if constexpr (kRounding == Rounding::kClampThenRound) {
    return RoundHalfEven(hn::Min(top, SelectOrZero(hn::Gt(v, Zero()), v)));
  } else {
    return hn::Max(Zero(), hn::Min(top, RoundHalfEven(v)));
  }
}

// The codes of one scale and their weighted sums.
template <Rounding kRounding>
HWY_INLINE CodeSums SumCodes(AffineValues& v, VF inverse, VF min, int levels) {
  const std::size_t n = LaneCount();
  CodeSums sums{Zero(), Zero(), Zero()};
  for (std::size_t i = 0; i < v.size; ++i) {
    const VF x = LoadLanes(v.x + i * n);
    const VF w = LoadLanes(v.weight + i * n);
    const VF l = RoundToCode<kRounding>(hn::Mul(inverse, hn::Sub(x, min)), levels);
    StoreLanes(l, v.code + i * n);
    const VF wl = hn::Mul(w, l);
    sums.l = hn::Add(sums.l, wl);
    sums.l2 = hn::Add(sums.l2, hn::Mul(wl, l));
    sums.xl = hn::Add(sums.xl, hn::Mul(wl, x));
  }
  return sums;
}

// Rounding is monotone, so the extremes tell whether every argument is moderate. kRounding: what to
// do where it is not.
template <Rounding kRounding>
HWY_INLINE CodeSums TryInverse(AffineValues& v, const AffineState& state, VF inverse, int levels) {
  const VF limit = Set(0x1p21f);
  const VF low = hn::Abs(hn::Mul(inverse, hn::Sub(state.lowest, state.min)));
  const VF high = hn::Abs(hn::Mul(inverse, hn::Sub(state.max, state.min)));
  const MF moderate = hn::And(hn::Lt(low, limit), hn::Lt(high, limit));
  if (HWY_LIKELY(hn::AllTrue(DF(), moderate))) {
    return SumCodes<Rounding::kModerate>(v, inverse, state.min, levels);
  }
  return SumCodes<kRounding>(v, inverse, state.min, levels);
}

template <bool kAbsolute>
HWY_INLINE VF WeightedError(const AffineValues& v, VF scale, VF min) {
  const std::size_t n = LaneCount();
  VF error = Zero();
  for (std::size_t i = 0; i < v.size; ++i) {
    const VF fitted = hn::Add(hn::Mul(scale, LoadLanes(v.code + i * n)), min);
    const VF difference = hn::Sub(fitted, LoadLanes(v.x + i * n));
    const VF cost = kAbsolute ? hn::Abs(difference) : hn::Mul(difference, difference);
    error = hn::Add(error, hn::Mul(LoadLanes(v.weight + i * n), cost));
  }
  return error;
}

// The width of the range; 1 where there is none, to keep such lanes out of trouble.
HWY_INLINE VF RangeOf(const AffineState& state) {
  return Select(state.flat, Set(1.0f), hn::Sub(state.max, state.min));
}

// make_qkx2_quants and make_qkx3_quants: least squares for scale and minimum after every rounding.
template <bool kAbsolute, Rounding kRounding>
HWY_NOINLINE AffineFit SearchAffine(AffineValues& v, int levels, AffineTrials trials) {
  AffineState state = Extremes(v);
  const VF top = Set(static_cast<float>(levels));
  AffineFit fit;
  fit.weight_sum = state.sum_w;
  fit.inverse = hn::Div(top, RangeOf(state));
  fit.origin = state.min;
  fit.scale = hn::Div(Set(1.0f), fit.inverse);
  TryInverse<Rounding::kRoundThenClamp>(v, state, fit.inverse, levels);
  // nearest_int gives 0 everywhere for an infinite scale.
  Replace(hn::Eq(fit.scale, Zero()), Zero(), &fit.inverse);
  VF best = WeightedError<kAbsolute>(v, fit.scale, state.min);
  for (int i = 0; i <= trials.steps; ++i) {
    const float target =
        trials.first + trials.step * static_cast<float>(i) + static_cast<float>(levels);
    const VF inverse = hn::Div(Set(target), RangeOf(state));
    const CodeSums sums = TryInverse<kRounding>(v, state, inverse, levels);
    const VF det = hn::Sub(hn::Mul(state.sum_w, sums.l2), hn::Mul(sums.l, sums.l));
    VF scale = hn::Div(hn::Sub(hn::Mul(state.sum_w, sums.xl), hn::Mul(state.sum_x, sums.l)), det);
    VF min = hn::Div(hn::Sub(hn::Mul(sums.l2, state.sum_x), hn::Mul(sums.l, sums.xl)), det);
    const MF above = hn::Gt(min, Zero());
    Replace(above, hn::Div(sums.xl, sums.l2), &scale);
    Replace(above, Zero(), &min);
    const VF error = WeightedError<kAbsolute>(v, scale, min);
    const MF better = hn::AndNot(state.flat, hn::And(hn::Gt(det, Zero()), hn::Lt(error, best)));
    Replace(better, error, &best);
    Replace(better, scale, &fit.scale);
    Replace(better, inverse, &fit.inverse);
    Replace(better, state.min, &fit.origin);
    Replace(better, min, &state.min);
  }
  Replace(state.flat, Zero(), &fit.scale);
  Replace(state.flat, Zero(), &fit.inverse);
  fit.low = state.min;
  return fit;
}

inline constexpr std::size_t kMaxSubBlocks = 16;

// The reference keeps these codes in bytes.
HWY_INLINE VI WrapToByte(VI v) { return hn::And(v, hn::Set(DI(), 0xFF)); }

struct ScaleSums {
  VF lx, l2;
};

// One round of coordinate descent of make_qp_quants over the codes; returns whether a lane changed.
HWY_INLINE bool ImproveScaleCodes(const VF* x, const VF* weight, std::size_t count, int levels,
                                  VI* codes, ScaleSums& sums) {
  bool changed = false;
  for (std::size_t i = 0; i < count; ++i) {
    const VF wx = hn::Mul(weight[i], x[i]);
    const VF old_code = ToFloat(codes[i]);
    VF lx = hn::Sub(sums.lx, hn::Mul(wx, old_code));
    VF l2 = hn::Sub(sums.l2, hn::Mul(hn::Mul(weight[i], old_code), old_code));
    const MF usable = hn::And(hn::Gt(lx, Zero()), hn::Gt(l2, Zero()));
    const VI candidate =
        hn::Min(hn::Set(DI(), levels), NearestIntBits(hn::Div(hn::Mul(x[i], l2), lx)));
    const VF code = ToFloat(candidate);
    const MF differs = NotEqual(code, old_code);
    lx = hn::Add(lx, hn::Mul(wx, code));
    l2 = hn::Add(l2, hn::Mul(hn::Mul(weight[i], code), code));
    const MF gain =
        hn::Gt(hn::Mul(hn::Mul(lx, lx), sums.l2), hn::Mul(hn::Mul(sums.lx, sums.lx), l2));
    const MF better = hn::And(hn::And(usable, differs), gain);
    Replace(better, lx, &sums.lx);
    Replace(better, l2, &sums.l2);
    codes[i] = hn::IfThenElse(hn::RebindMask(DI(), better), WrapToByte(candidate), codes[i]);
    changed = changed || AnyLane(better);
  }
  return changed;
}

// The inverse scale of the lowest weighted error among nine: the first half of make_qp_quants.
HWY_INLINE VF BestInverseScale(const VF* x, const VF* weight, std::size_t count, int levels,
                               VF max) {
  VF inverse = hn::Div(Set(static_cast<float>(levels)), max);
  VF best = Zero();
  const auto error_of = [&](VF candidate, bool base) {
    const VF scale = hn::Div(Set(1.0f), candidate);
    VF error = Zero();
    for (std::size_t i = 0; i < count; ++i) {
      const VI l = NearestIntBits(hn::Mul(candidate, x[i]));
      const VF code = ToFloat(base ? WrapToByte(l) : hn::Min(hn::Set(DI(), levels), l));
      const VF difference = hn::Sub(x[i], hn::Mul(scale, code));
      error = hn::Add(error, hn::Mul(hn::Mul(weight[i], difference), difference));
    }
    return error;
  };
  best = error_of(inverse, true);
  for (int i = -4; i <= 4; ++i) {
    if (i == 0) continue;
    const float target = 0.1f * static_cast<float>(i) + static_cast<float>(levels);
    const VF candidate = hn::Div(Set(target), max);
    const VF error = error_of(candidate, false);
    const MF better = hn::Lt(error, best);
    Replace(better, error, &best);
    Replace(better, candidate, &inverse);
  }
  return inverse;
}

// make_qp_quants: a common scale for `count` non-negative numbers x ~ scale * code. Returns the
// scale.
HWY_NOINLINE inline VF SearchScales(const VF* x, const VF* weight, std::size_t count, int levels,
                                    VI* codes) {
  VF max = Zero();
  for (std::size_t i = 0; i < count; ++i) max = Select(hn::Gt(max, x[i]), max, x[i]);
  const MF zero = hn::Lt(max, Set(1e-15f));
  const VF inverse = BestInverseScale(x, weight, count, levels, max);
  ScaleSums sums{Zero(), Zero()};
  for (std::size_t i = 0; i < count; ++i) {
    const VI l = hn::Min(hn::Set(DI(), levels), NearestIntBits(hn::Mul(inverse, x[i])));
    const VF code = ToFloat(l);
    codes[i] = WrapToByte(l);
    sums.lx = hn::Add(sums.lx, hn::Mul(hn::Mul(weight[i], x[i]), code));
    sums.l2 = hn::Add(sums.l2, hn::Mul(hn::Mul(weight[i], code), code));
  }
  for (int round = 0; round < 5; ++round) {
    if (!ImproveScaleCodes(x, weight, count, levels, codes, sums)) break;
  }
  const MF positive = hn::AndNot(zero, hn::Gt(sums.l2, Zero()));
  for (std::size_t i = 0; i < count; ++i) {
    codes[i] = hn::IfThenZeroElse(hn::RebindMask(DI(), zero), codes[i]);
  }
  return SelectOrZero(positive, hn::Div(sums.lx, sums.l2));
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
