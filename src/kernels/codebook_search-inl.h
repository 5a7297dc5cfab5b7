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
  static constexpr unsigned kBase = 3;  // of slots
  static HWY_INLINE VI NextSlot(VI slot, VI level) {
    return hn::Add(hn::Add(slot, hn::ShiftLeft<1>(slot)), level);
  }
};

// Groups of four levels 0 ... 7 (IQ3).
struct FourOfEight {
  static constexpr std::size_t kWidth = 4;
  static constexpr int kBits = 3;
  static constexpr int kTop = 7;
  static constexpr unsigned kBase = 8;
  static HWY_INLINE VI NextSlot(VI slot, VI level) {
    return hn::Add(hn::ShiftLeft<3>(slot), level);
  }
};

// A table of one float per level fits into one vector.
template <class Shape>
inline constexpr bool kLevelsFitLanes = hn::MaxLanes(DF()) >= (1u << Shape::kBits);

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

// A group to be replaced by a point: the least sum of weight * (scale * (2 level + 1) - x)^2.
struct GroupValues {
  const float* x;
  const float* weight;
  float margin;  // 2^-13 of the sum of weight * x * x, but 2^-100 at least
};

struct PointList {
  const std::uint16_t* points;
  std::size_t length;
};

// The definition, and the way of targets whose vectors are too short for tables.
template <class Shape>
HWY_INLINE std::uint16_t NearestOneByOne(const GroupValues& group, float scale, PointList list) {
  constexpr unsigned kLevels = 1u << Shape::kBits;
  float terms[Shape::kWidth][kLevels];
  for (std::size_t i = 0; i < Shape::kWidth; ++i) {
    for (unsigned level = 0; level < kLevels; ++level) {
      const float difference = scale * static_cast<float>(2 * level + 1) - group.x[i];
      terms[i][level] = group.weight[i] * difference * difference;
    }
  }
  if (Shape::kWidth == 8) terms[0][3] = std::numeric_limits<float>::infinity();
  float least = std::numeric_limits<float>::max();
  std::uint16_t nearest = list.points[0];
  for (std::size_t at = 0; at < list.length; ++at) {
    unsigned levels = list.points[at];
    float sum = terms[0][levels % kLevels];
    for (std::size_t i = 1; i < Shape::kWidth; ++i) {
      levels /= kLevels;
      sum += terms[i][levels % kLevels];
    }
    if (sum < least) {
      least = sum;
      nearest = list.points[at];
    }
  }
  return nearest;
}

// table[lowest bits of each lane], whatever the upper bits are.
HWY_INLINE VF LookUpWrapped(VF table, VI index) {
#if HWY_TARGET <= HWY_AVX2 && HWY_TARGET != HWY_SCALAR && !HWY_IS_DEBUG_BUILD && HWY_ARCH_X86
  // The permutations of AVX2 and AVX-512 look at no more than these bits.
  return hn::TableLookupLanes(table, hn::IndicesFromVec(DF(), index));
#else
  const VI mask = hn::Set(DI(), static_cast<int>(LaneCount()) - 1);
  return hn::TableLookupLanes(table, hn::IndicesFromVec(DF(), hn::And(index, mask)));
#endif
}

// What the levels of a point add to its distance: a table per place, indexed by the point's bits
// from that place on.
template <class Shape>
struct PlaceTerms {
  VF terms[Shape::kWidth];

  HWY_INLINE PlaceTerms(const GroupValues& group, float scale) {
    const VI lane = hn::Iota(DI(), 0);
    const VF fitted = hn::Mul(Set(scale), OddOfLevel<Shape>(lane));
    for (std::size_t i = 0; i < Shape::kWidth; ++i) {
      const VF difference = hn::Sub(fitted, Set(group.x[i]));
      terms[i] = hn::Mul(hn::Mul(Set(group.weight[i]), difference), difference);
    }
    // What fills up a list is never nearest: level 3 of 0 ... 2, or a bit beyond the last level.
    const VF never = Set(std::numeric_limits<float>::infinity());
    if constexpr (Shape::kWidth == 8) {
      const VI three = hn::Set(DI(), 3);
      Replace(hn::RebindMask(DF(), hn::Eq(hn::And(lane, three), three)), never, &terms[0]);
    } else if constexpr (hn::MaxLanes(DF()) > 8) {
      Replace(hn::RebindMask(DF(), hn::Gt(lane, hn::Set(DI(), 7))), never,
              &terms[Shape::kWidth - 1]);
    }
  }

  // In the order of the places, as the reference adds.
  HWY_INLINE VF Sum(VI packed) const {
    VF sum = LookUpWrapped(terms[0], packed);
    for (std::size_t i = 1; i < Shape::kWidth; ++i) {
      packed = hn::ShiftRight<Shape::kBits>(packed);
      sum = hn::Add(sum, LookUpWrapped(terms[i], packed));
    }
    return sum;
  }
};

// The same for pairs of places, which is quicker and adds in another order.
template <class Shape>
struct PairTerms {
  static constexpr std::size_t kPairs = Shape::kWidth / 2;
  VF terms[kPairs];

  HWY_INLINE PairTerms(const GroupValues& group, float scale) {
    const VI lane = hn::Iota(DI(), 0);
    const VF even = hn::Mul(Set(scale), OddOfLevel<Shape>(lane));
    const VF odd = hn::Mul(Set(scale), OddOfLevel<Shape>(hn::ShiftRight<Shape::kBits>(lane)));
    for (std::size_t i = 0; i < kPairs; ++i) {
      const VF first = hn::Sub(even, Set(group.x[2 * i]));
      const VF second = hn::Sub(odd, Set(group.x[2 * i + 1]));
      terms[i] = hn::Add(hn::Mul(hn::Mul(Set(group.weight[2 * i]), first), first),
                         hn::Mul(hn::Mul(Set(group.weight[2 * i + 1]), second), second));
    }
    const VI three = hn::Set(DI(), 3);
    Replace(hn::RebindMask(DF(), hn::Eq(hn::And(lane, three), three)),
            Set(std::numeric_limits<float>::infinity()), &terms[0]);
  }

  HWY_INLINE VF Sum(VI packed) const {
    VF sum = LookUpWrapped(terms[0], packed);
    for (std::size_t i = 1; i < kPairs; ++i) {
      packed = hn::ShiftRight<2 * Shape::kBits>(packed);
      sum = hn::Add(sum, LookUpWrapped(terms[i], packed));
    }
    return sum;
  }
};

// The first point of the list at the least distance, added in the order of the places.
template <class Shape>
HWY_NOINLINE std::uint16_t NearestInOrder(const GroupValues& group, float scale, PointList list) {
  if constexpr (!kLevelsFitLanes<Shape>) {
    return NearestOneByOne<Shape>(group, scale, list);
  } else {
    const DI di;
    const hn::Rebind<std::uint16_t, DF> du16;
    const PlaceTerms<Shape> terms(group, scale);
    VF least = Set(std::numeric_limits<float>::max());
    VI least_at = hn::Zero(di);
    for (std::size_t at = 0; at < list.length; at += LaneCount()) {
      const VF sum = terms.Sum(hn::PromoteTo(di, hn::LoadU(du16, list.points + at)));
      const MF nearer = hn::Lt(sum, least);
      Replace(nearer, sum, &least);
      least_at =
          hn::IfThenElse(hn::RebindMask(di, nearer), hn::Set(di, static_cast<int>(at)), least_at);
    }
    const auto tied = hn::RebindMask(di, hn::Eq(least, hn::MinOfLanes(DF(), least)));
    const VI place =
        hn::IfThenElse(tied, hn::Add(least_at, hn::Iota(di, 0)), hn::Set(di, 0x7FFFFFFF));
    const auto first = static_cast<std::size_t>(hn::GetLane(hn::MinOfLanes(di, place)));
    return list.points[first < list.length ? first : 0];
  }
}

struct ListChoice {
  std::uint16_t point;
  bool clear;  // all others are farther by 2^-13 of the distance + group.margin
};

HWY_INLINE VF MarginLimit(VF best, const GroupValues& group) {
  return hn::Add(hn::Mul(best, Set(1.0f + 0x1p-13f)), Set(group.margin));
}

// A list that fills one vector.
template <class Terms>
HWY_INLINE ListChoice NearestOfVector(const Terms& terms, const GroupValues& group,
                                      const std::uint16_t* points) {
  const DF df;
  const hn::Rebind<std::uint16_t, DF> du16;
  const VF sum = terms.Sum(hn::PromoteTo(DI(), hn::LoadU(du16, points)));
  const VF best = hn::MinOfLanes(df, sum);
  const std::size_t close = hn::CountTrue(df, hn::Le(sum, MarginLimit(best, group)));
  const auto lane = hn::FindFirstTrue(df, hn::Eq(sum, best));
  return {points[lane < 0 ? 0 : lane], close == 1};
}

template <class Terms>
HWY_INLINE ListChoice NearestOfVectors(const Terms& terms, const GroupValues& group,
                                       PointList list) {
  const DI di;
  const hn::Rebind<std::uint16_t, DF> du16;
  VF least = Set(std::numeric_limits<float>::max());
  VF second = least;
  VI least_at = hn::Zero(di);
  for (std::size_t at = 0; at < list.length; at += LaneCount()) {
    const VF sum = terms.Sum(hn::PromoteTo(di, hn::LoadU(du16, list.points + at)));
    const auto nearer = hn::RebindMask(di, hn::Lt(sum, least));
    second = hn::Min(second, hn::Max(sum, least));
    least = hn::Min(sum, least);
    least_at = hn::IfThenElse(nearer, hn::Set(di, static_cast<int>(at)), least_at);
  }
  const VF limit = MarginLimit(hn::MinOfLanes(DF(), least), group);
  const MF close = hn::Le(least, limit);
  const bool clear = hn::CountTrue(DF(), close) == 1 && hn::AllFalse(DF(), hn::Le(second, limit));
  if (!clear) return {0, false};
  HWY_ALIGN std::int32_t first[kMaxLanes];
  hn::Store(least_at, di, first);
  const auto lane = static_cast<std::size_t>(hn::FindFirstTrue(DF(), close));
  return {list.points[static_cast<std::size_t>(first[lane]) + lane], true};
}

template <class Shape>
HWY_INLINE ListChoice NearestOfList(const GroupValues& group, float scale, PointList list) {
  ListChoice nearest{0, false};
  if constexpr (hn::MaxLanes(DF()) >= (1u << 2 * Shape::kBits)) {
    const PairTerms<Shape> terms(group, scale);
    nearest = list.length == hn::MaxLanes(DF()) ? NearestOfVector(terms, group, list.points)
                                                : NearestOfVectors(terms, group, list);
  } else if constexpr (kLevelsFitLanes<Shape>) {
    const PlaceTerms<Shape> terms(group, scale);
    // The order of the sums is the reference's: the first of the nearest is the answer.
    if (list.length == hn::MaxLanes(DF())) return NearestOfVector(terms, group, list.points);
    nearest = NearestOfVectors(terms, group, list);
  }
  if (HWY_UNLIKELY(!nearest.clear)) nearest.point = NearestInOrder<Shape>(group, scale, list);
  return nearest;
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
