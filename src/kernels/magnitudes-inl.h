// Super-blocks of IQ2 and IQ3 made ready for the search: magnitudes and signs, weights, and how far
// the values of a part reach. Included once per target, after highway.h.

#if defined(QWODEL_KERNELS_MAGNITUDES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QWODEL_KERNELS_MAGNITUDES_INL_H_
#undef QWODEL_KERNELS_MAGNITUDES_INL_H_
#else
#define QWODEL_KERNELS_MAGNITUDES_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "kernels/affine_search-inl.h"
#include "kernels/lanes-inl.h"
#include "kernels/point_blocks.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

inline constexpr std::size_t kMaxPart = 32;

using D8 = hn::CappedTag<float, 8>;

// A super-block made ready for the search.
struct MagnitudeBlock {
  HWY_ALIGN float x[kPointBlock];  // magnitudes, one of eight negated where signs are even
  HWY_ALIGN float weight[kPointBlock];
  HWY_ALIGN float root[kPointBlock];  // of the weights: the weights of the search in the lists
  float reach[16];                    // of each part: its largest x, or what was fitted; 0: zeros
  float scale[16];                    // the scale of a part that no trial improves
  std::array<std::uint8_t, 32> signs;
};

HWY_INLINE float Variance(const PointRecipe& recipe, const float* values) {
  float sum = 0.0f;
  for (std::size_t i = 0; i < kPointBlock; ++i) sum += values[i] * values[i];
  return recipe.spread * sum * (1.0f / kPointBlock);
}

HWY_INLINE VF Weight(const PointRecipe& recipe, const float* importance, float variance, VF x) {
  const VF square = hn::Mul(x, x);
  if (importance != nullptr) {
    return hn::Mul(LoadLanes(importance), hn::Sqrt(hn::Add(Set(variance), square)));
  }
  if (recipe.plain_spread <= 0.0f) return square;
  return hn::Add(Set(recipe.plain_spread * variance), square);
}

HWY_INLINE std::uint8_t NegativeBits(const float* x) {
  const D8 d;
  unsigned signs = 0;
  for (std::size_t i = 0; i < 8; i += hn::Lanes(d)) {
    std::uint8_t bits[8] = {};
    hn::StoreMaskBits(d, hn::Lt(hn::LoadU(d, x + i), hn::Zero(d)), bits);
    signs |= static_cast<unsigned>(bits[0]) << i;
  }
  return static_cast<std::uint8_t>(signs);
}

// Of eight values the first that costs least to negate.
HWY_INLINE std::size_t CheapestToNegate(const float* x, const float* weight) {
  std::size_t cheapest = 0;
  float least = weight[0] * x[0] * x[0];
  for (std::size_t i = 1; i < 8; ++i) {
    const float cost = weight[i] * x[i] * x[i];
    if (cost < least) {
      least = cost;
      cheapest = i;
    }
  }
  return cheapest;
}

HWY_INLINE void SplitSigns(bool even, MagnitudeBlock& block) {
  for (std::size_t k = 0; k < block.signs.size(); ++k) {
    float* const x = block.x + 8 * k;
    unsigned signs = NegativeBits(x);
    std::size_t negated = 8;
    if (even && std::popcount(signs) % 2 != 0) {
      negated = CheapestToNegate(x, block.weight + 8 * k);
      signs ^= 1u << negated;
    }
    const D8 d;
    for (std::size_t i = 0; i < 8; i += hn::Lanes(d)) {
      const auto value = hn::LoadU(d, x + i);
      const auto negative = hn::Lt(value, hn::Zero(d));
      hn::StoreU(hn::IfThenElse(negative, hn::Neg(value), value), d, x + i);
    }
    if (negated < 8) x[negated] = -x[negated];
    block.signs[k] = static_cast<std::uint8_t>(signs);
  }
}

HWY_INLINE void Prepare(const PointRecipe& recipe, const float* values, const float* importance,
                        MagnitudeBlock& block) {
  const float variance = Variance(recipe, values);
  for (std::size_t i = 0; i < kPointBlock; i += LaneCount()) {
    const VF x = LoadLanes(values + i);
    const float* const weights = importance == nullptr ? nullptr : importance + i;
    const VF weight = Weight(recipe, weights, variance, x);
    StoreLanes(x, block.x + i);
    StoreLanes(weight, block.weight + i);
    StoreLanes(hn::Sqrt(weight), block.root + i);
  }
  SplitSigns(recipe.even_signs, block);
  for (std::size_t p = 0; p < kPointBlock / recipe.part; ++p) {
    const float* const x = block.x + p * recipe.part;
    const float largest = *std::max_element(x, x + recipe.part);
    block.reach[p] = largest > 0.0f && largest >= recipe.least ? largest : 0.0f;
  }
}

// Fits a scale to parts of 32 values as if all levels 0 ... 4 were allowed, one part per lane.
inline HWY_NOINLINE void FitReach(MagnitudeBlock* blocks, std::size_t count) {
  constexpr std::size_t kParts = kPointBlock / kMaxPart;
  const std::size_t parts = count * kParts;
  for (std::size_t first = 0; first < parts; first += LaneCount()) {
    const float *x_rows[kMaxLanes], *weight_rows[kMaxLanes];
    for (std::size_t lane = 0; lane < LaneCount(); ++lane) {
      const std::size_t part = std::min(first + lane, parts - 1);
      x_rows[lane] = blocks[part / kParts].x + part % kParts * kMaxPart;
      weight_rows[lane] = blocks[part / kParts].weight + part % kParts * kMaxPart;
    }
    HWY_ALIGN float x[kMaxPart * kMaxLanes], weight[kMaxPart * kMaxLanes], scales[kMaxLanes];
    LoadTransposed(x_rows, 0, kMaxPart, x);
    LoadTransposed(weight_rows, 0, kMaxPart, weight);
    VF x_lanes[kMaxPart], weight_lanes[kMaxPart];
    VI codes[kMaxPart];
    for (std::size_t i = 0; i < kMaxPart; ++i) {
      x_lanes[i] = LoadLanes(x + i * LaneCount());
      weight_lanes[i] = LoadLanes(weight + i * LaneCount());
    }
    StoreLanes(SearchScales(x_lanes, weight_lanes, kMaxPart, 4, codes), scales);
    for (std::size_t lane = 0; lane < LaneCount() && first + lane < parts; ++lane) {
      MagnitudeBlock& block = blocks[(first + lane) / kParts];
      const std::size_t part = (first + lane) % kParts;
      const float reach = scales[lane] * 3.0f;
      block.scale[part] = scales[lane];
      if (block.reach[part] > 0.0f) block.reach[part] = reach > 0.0f ? reach : 0.0f;
    }
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
