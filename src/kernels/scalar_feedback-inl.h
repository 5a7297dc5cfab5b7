// What the kernels of scalar_feedback.h share: levels, halves, and the fit of a group. Included
// once per target, after highway.h.

#if defined(QWODEL_KERNELS_SCALAR_FEEDBACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QWODEL_KERNELS_SCALAR_FEEDBACK_INL_H_
#undef QWODEL_KERNELS_SCALAR_FEEDBACK_INL_H_
#else
#define QWODEL_KERNELS_SCALAR_FEEDBACK_INL_H_
#endif

#include <algorithm>

#include "core/half.h"
#include "kernels/affine_search-inl.h"
#include "kernels/lanes-inl.h"
#include "kernels/scalar_feedback.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

// The nearest level to a position; positions are in levels and may be anything but NaN.
struct IntegerLevels {
  float lowest, highest;

  explicit IntegerLevels(const ScalarRecipe& recipe)
      : lowest(static_cast<float>(recipe.lowest)), highest(static_cast<float>(recipe.highest)) {}
  IntegerLevels(int low, int high)
      : lowest(static_cast<float>(low)), highest(static_cast<float>(high)) {}

  HWY_INLINE VF operator()(VF position) const {
    return RoundHalfEven(hn::Max(Set(lowest), hn::Min(Set(highest), position)));
  }
};

struct TableLevels {
  float lowest = 0, highest = 0;
  float levels[16] = {};
  float middles[16] = {};  // [k]: between levels k - 1 and k

  explicit TableLevels(const ScalarRecipe& recipe) {
    for (std::size_t k = 0; k < 16; ++k) {
      levels[k] = static_cast<float>(recipe.table[k]);
      if (k > 0) middles[k] = 0.5f * (levels[k - 1] + levels[k]);
    }
    lowest = levels[0];
    highest = levels[15];
  }

  HWY_INLINE VF operator()(VF position) const {
    VF level = Set(levels[0]);
    for (std::size_t k = 1; k < 16; ++k) {
      level = Select(hn::Gt(position, Set(middles[k])), Set(levels[k]), level);
    }
    return level;
  }
};

HWY_INLINE VF RoundToHalf(VF value) {
  HWY_ALIGN float lanes[kMaxLanes];
  StoreLanes(value, lanes);
  for (std::size_t i = 0; i < LaneCount(); ++i) lanes[i] = half_to_float(float_to_half(lanes[i]));
  return LoadLanes(lanes);
}

// 1 / value, 0 for 0.
HWY_INLINE VF InverseOrZero(VF value) {
  const MF zero = hn::Eq(value, Zero());
  return hn::IfThenZeroElse(zero, hn::Div(Set(1.0f), Select(zero, Set(1.0f), value)));
}

struct GroupFit {
  VF scale, minimum;  // x ~ scale * level - minimum
};

// The best of some scales about lowest / peak, each refitted by least squares. `count` values and
// weights, `stride` apart; steps of `step`, relative.
template <class Levels>
HWY_NOINLINE VF FitScale(const float* x, const float* weight, std::size_t count,
                         const Levels& levels, float step) {
  VF peak = Zero();
  for (std::size_t i = 0; i < count; ++i) {
    const VF value = LoadLanes(x + i * LaneCount());
    Replace(hn::Gt(hn::Abs(value), hn::Abs(peak)), value, &peak);
  }
  const VF base = hn::Mul(Set(levels.lowest), hn::IfThenZeroElse(hn::Lt(hn::Abs(peak), Set(1e-15f)),
                                                                 InverseOrZero(peak)));
  VF best = Zero(), scale = Zero();
  for (int k = -10; k <= 10; ++k) {
    const VF inverse = hn::Mul(base, Set(1.0f + step * static_cast<float>(k)));
    VF xl = Zero(), l2 = Zero();
    for (std::size_t i = 0; i < count; ++i) {
      const VF value = LoadLanes(x + i * LaneCount());
      const VF level = levels(hn::Mul(inverse, value));
      const VF wl = hn::Mul(LoadLanes(weight + i * LaneCount()), level);
      xl = hn::Add(xl, hn::Mul(wl, value));
      l2 = hn::Add(l2, hn::Mul(wl, level));
    }
    const VF fitted = hn::Mul(xl, InverseOrZero(l2));
    const VF gain = hn::Mul(fitted, xl);
    const MF better = hn::Gt(gain, best);
    Replace(better, gain, &best);
    Replace(better, fitted, &scale);
  }
  return scale;
}

// How far apart trials of FitScale lie: about a tenth of a level at the peak.
template <class Levels>
HWY_INLINE float TrialStep(const Levels& levels) {
  return 0.1f / std::min(16.0f, -levels.lowest);
}
HWY_INLINE float TrialStep(const TableLevels&) { return 0.0125f; }

// v.x under v.weight.
template <class Levels>
HWY_INLINE GroupFit FitGroup(const ScalarRecipe& recipe, const Levels& levels, AffineValues& v) {
  if (recipe.highest_minimum == 0) {
    return {FitScale(v.x, v.weight, v.size, levels, TrialStep(levels)), Zero()};
  }
  const AffineFit fit =
      SearchAffine<false, Rounding::kClampThenRound>(v, recipe.highest, kTrialsWithImportance);
  return {fit.scale, hn::Neg(fit.low)};
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
