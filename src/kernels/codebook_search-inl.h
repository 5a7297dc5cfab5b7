// The inner loops of the codebook encodings: rounding under many scales at once (one scale per
// lane), and the choice among a list of points (one point per lane). Included once per target.

#if defined(QWODEL_KERNELS_CODEBOOK_SEARCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QWODEL_KERNELS_CODEBOOK_SEARCH_INL_H_
#undef QWODEL_KERNELS_CODEBOOK_SEARCH_INL_H_
#else
#define QWODEL_KERNELS_CODEBOOK_SEARCH_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <limits>

#include "kernels/codebook_view.h"
#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

// Groups of eight levels 0 ... 2 (IQ2).
struct EightOfThree {
  static constexpr std::size_t kWidth = 8;
  static constexpr int kBits = 2;
  static constexpr int kTop = 2;
  static HWY_INLINE VI NextSlot(VI slot, VI level) {
    return hn::Add(hn::Add(slot, hn::ShiftLeft<1>(slot)), level);
  }
};

// Groups of four levels 0 ... 7 (IQ3).
struct FourOfEight {
  static constexpr std::size_t kWidth = 4;
  static constexpr int kBits = 3;
  static constexpr int kTop = 7;
  static HWY_INLINE VI NextSlot(VI slot, VI level) {
    return hn::Add(hn::ShiftLeft<3>(slot), level);
  }
};

// A table of one float per level fits into one vector.
template <class Shape>
inline constexpr bool kLevelsFitLanes = hn::MaxLanes(DF()) >= (1u << Shape::kBits);

// table[level of each lane], the level being the lowest bits of `packed`.
template <class Shape>
HWY_INLINE VF LookUpLevel(VF table, VI packed) {
  const VI mask = hn::Set(DI(), (1 << Shape::kBits) - 1);
  return hn::TableLookupLanes(table, hn::IndicesFromVec(DF(), hn::And(packed, mask)));
}

// 2 * level + 1 of each lane.
template <class Shape>
HWY_INLINE VF OddOfLevel(VI packed) {
  const VI level = hn::And(packed, hn::Set(DI(), (1 << Shape::kBits) - 1));
  return ToFloat(hn::Add(hn::Add(level, level), hn::Set(DI(), 1)));
}

// Level of one value under the inverse scale of each lane.
template <class Shape>
HWY_INLINE VI RoundToLevel(VF inverse, VF x) {
  const VF position = hn::Mul(Set(0.5f), hn::Sub(hn::Mul(inverse, x), Set(1.0f)));
  return NearestIntClamped(position, 0, Shape::kTop);
}

// Slot of the rounded levels of a group x[kWidth], under the inverse scale of each lane.
template <class Shape>
HWY_INLINE VI RoundToSlot(VF inverse, const float* x) {
  VI slot = hn::Zero(DI());
  for (std::size_t i = Shape::kWidth; i-- > 0;) {
    slot = Shape::NextSlot(slot, RoundToLevel<Shape>(inverse, Set(x[i])));
  }
  return slot;
}

// What level `l` at place `i` adds to the distance of a point: weight * (scale * (2 l + 1) - x)^2.
template <class Shape>
HWY_INLINE std::uint16_t NearestOneByOne(const float* x, const float* weight, float scale,
                                         const std::uint16_t* list, std::size_t length) {
  constexpr unsigned kLevels = 1u << Shape::kBits;
  float terms[Shape::kWidth][kLevels];
  for (std::size_t i = 0; i < Shape::kWidth; ++i) {
    for (unsigned level = 0; level < kLevels; ++level) {
      const float difference = scale * static_cast<float>(2 * level + 1) - x[i];
      terms[i][level] = weight[i] * difference * difference;
    }
  }
  float least = std::numeric_limits<float>::max();
  std::uint16_t nearest = list[0];
  for (std::size_t at = 0; at < length; ++at) {
    unsigned levels = list[at];
    float sum = terms[0][levels % kLevels];
    for (std::size_t i = 1; i < Shape::kWidth; ++i) {
      levels /= kLevels;
      sum += terms[i][levels % kLevels];
    }
    if (sum < least) {
      least = sum;
      nearest = list[at];
    }
  }
  return nearest;
}

// The place in the list of the first of the least distances.
HWY_INLINE std::size_t FirstOfLeast(VF least, VI at) {
  const DI di;
  const auto tied = hn::RebindMask(di, hn::Eq(least, hn::MinOfLanes(DF(), least)));
  const VI place = hn::IfThenElse(tied, hn::Add(at, hn::Iota(di, 0)), hn::Set(di, 0x7FFFFFFF));
  return static_cast<std::size_t>(hn::GetLane(hn::MinOfLanes(di, place)));
}

// The first point of the list at the least distance sum of weight * (scale * (2 level + 1) - x)^2,
// over x[kWidth], added in this order.
template <class Shape>
HWY_INLINE std::uint16_t NearestOfList(const float* x, const float* weight, float scale,
                                       const std::uint16_t* list, std::size_t length) {
  if constexpr (!kLevelsFitLanes<Shape>) {
    return NearestOneByOne<Shape>(x, weight, scale, list, length);
  } else {
    const DI di;
    const hn::Rebind<std::uint16_t, DF> du16;
    const VF fitted = hn::Mul(Set(scale), OddOfLevel<Shape>(hn::Iota(di, 0)));
    VF terms[Shape::kWidth];
    for (std::size_t i = 0; i < Shape::kWidth; ++i) {
      const VF difference = hn::Sub(fitted, Set(x[i]));
      terms[i] = hn::Mul(hn::Mul(Set(weight[i]), difference), difference);
    }
    VF least = Set(std::numeric_limits<float>::max());
    VI least_at = hn::Zero(di);
    for (std::size_t at = 0; at < length; at += LaneCount()) {
      VI packed = hn::PromoteTo(di, hn::LoadU(du16, list + at));
      VF sum = LookUpLevel<Shape>(terms[0], packed);
      for (std::size_t i = 1; i < Shape::kWidth; ++i) {
        packed = hn::ShiftRight<Shape::kBits>(packed);
        sum = hn::Add(sum, LookUpLevel<Shape>(terms[i], packed));
      }
      const MF nearer = hn::Lt(sum, least);
      Replace(nearer, sum, &least);
      least_at =
          hn::IfThenElse(hn::RebindMask(di, nearer), hn::Set(di, static_cast<int>(at)), least_at);
    }
    const std::size_t place = FirstOfLeast(least, least_at);
    return list[place < length ? place : 0];
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
