// What the searches of IQ1_S and IQ1_M share: sorting the values of a part, prefix sums in sorted
// order, levels from a split, the walk over a codebook's neighbour list. Included once per target.

#if defined(QWODEL_KERNELS_IQ1_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QWODEL_KERNELS_IQ1_INL_H_
#undef QWODEL_KERNELS_IQ1_INL_H_
#else
#define QWODEL_KERNELS_IQ1_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

#include "kernels/lanes-inl.h"
#include "kernels/split_score-inl.h"
#include "kernels/ternary_codebook.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// ---- Sorting

using D64 = hn::CappedTag<double, 8>;
using DU64 = hn::RebindToUnsigned<D64>;
using V64 = hn::Vec<D64>;
using DHalfFloat = hn::Rebind<float, D64>;
using DHalfU32 = hn::Rebind<std::uint32_t, D64>;

struct Comparator {
  std::uint8_t low, high;
};

// Batcher's odd-even merge sort: which pairs to put in order, one after the other.
template <std::size_t kSize>
constexpr std::size_t Comparators(Comparator* out) {
  std::size_t count = 0;
  for (std::size_t p = 1; p < kSize; p *= 2) {
    for (std::size_t k = p; k >= 1; k /= 2) {
      for (std::size_t j = k % p; j + k < kSize; j += 2 * k) {
        for (std::size_t i = j; i < j + k && i + k < kSize; ++i) {
          if (i / (2 * p) != (i + k) / (2 * p)) continue;
          if (out != nullptr) {
            out[count] = {static_cast<std::uint8_t>(i), static_cast<std::uint8_t>(i + k)};
          }
          ++count;
        }
      }
    }
  }
  return count;
}

template <std::size_t kSize>
inline constexpr auto kNetwork = [] {
  std::array<Comparator, Comparators<kSize>(nullptr)> network{};
  Comparators<kSize>(network.data());
  return network;
}();

HWY_INLINE void PutInOrder(V64& low, V64& high) {
  const V64 smaller = hn::Min(low, high);
  high = hn::Max(low, high);
  low = smaller;
}

template <std::size_t kSize, std::size_t... kStep>
HWY_INLINE void RunNetwork(V64* keys, std::index_sequence<kStep...>) {
#if HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR
  // Without vector registers there is nothing to keep in them, and 191 steps written out make five
  // minutes of compilation under the sanitizers.
  for (const auto& [low, high] : kNetwork<kSize>) PutInOrder(keys[low], keys[high]);
#else
  (PutInOrder(keys[kNetwork<kSize>[kStep].low], keys[kNetwork<kSize>[kStep].high]), ...);
#endif
}

// Sorts the kSize values of each lane, equal ones in the order they came. The reference calls the C
// library's qsort; glibc's is a merge sort, which keeps that order. It matters: prefix sums round
// differently in another, zero weights make equal scores, and in IQ1_M equal values of the two
// halves may go to different groups (in reverse order 3 of 48 blocks of bfloat16 weights differ).
// A key is the value in double precision with its position in the low bits that a float leaves
// zero: larger positions sort later, so a negative value carries the complement.
template <std::size_t kSize>
HWY_NOINLINE void SortLanes(const float* values, float* sorted, std::int32_t* position) {
  const D64 d64;
  const DU64 du64;
  const std::size_t n = LaneCount();
  const auto place_mask = hn::Set(du64, std::uint64_t{kSize - 1});
  for (std::size_t part = 0; part < n; part += hn::Lanes(d64)) {
    V64 keys[kSize];
    for (std::size_t i = 0; i < kSize; ++i) {
      // Adding zero makes -0 a 0: the two are equal.
      const V64 value = hn::Add(hn::PromoteTo(d64, hn::LoadU(DHalfFloat(), values + i * n + part)),
                                hn::Zero(d64));
      const auto negative = hn::BitCast(du64, hn::VecFromMask(d64, hn::Lt(value, hn::Zero(d64))));
      const auto place = hn::And(hn::Xor(hn::Set(du64, std::uint64_t{i}), negative), place_mask);
      keys[i] = hn::BitCast(d64, hn::Or(hn::BitCast(du64, value), place));
    }
    RunNetwork<kSize>(keys, std::make_index_sequence<kNetwork<kSize>.size()>());
    for (std::size_t i = 0; i < kSize; ++i) {
      const auto bits = hn::BitCast(du64, keys[i]);
      const auto negative = hn::BitCast(du64, hn::VecFromMask(d64, hn::Lt(keys[i], hn::Zero(d64))));
      const auto place = hn::And(hn::Xor(bits, negative), place_mask);
      const V64 value = hn::BitCast(d64, hn::AndNot(place_mask, bits));
      hn::StoreU(hn::DemoteTo(DHalfFloat(), value), DHalfFloat(), sorted + i * n + part);
      hn::StoreU(hn::TruncateTo(DHalfU32(), place), DHalfU32(),
                 reinterpret_cast<std::uint32_t*>(position) + i * n + part);
    }
  }
}

// ---- One part of each lane's super-block

// Values and weights of a part, by lane (as the blocks lie) and transposed.
template <std::size_t kSize>
struct PartLanes {
  alignas(64) float weight_rows[kMaxLanes * kSize];  // [lane][i]
  alignas(64) float values[kSize * kMaxLanes];       // [i][lane], as the following
  alignas(64) float weights[kSize * kMaxLanes];
  alignas(64) float sorted[kSize * kMaxLanes];
  alignas(64) std::int32_t position[kSize * kMaxLanes];
};

// Weight of a value x: importance * sqrt(sigma2 + x^2), or x^2 without importance.
template <std::size_t kSize>
HWY_INLINE void LoadPart(const BlockGroup& group, std::size_t first, const float* sigma2,
                         PartLanes<kSize>& part) {
  const DF df;
  const std::size_t n = LaneCount();
  const float* rows[kMaxLanes];
  for (std::size_t lane = 0; lane < n; ++lane) {
    const float* const x = group.values[lane] + first;
    float* const row = part.weight_rows + lane * kSize;
    rows[lane] = row;
    for (std::size_t i = 0; i < kSize; i += n) {
      const VF square = hn::Mul(hn::LoadU(df, x + i), hn::LoadU(df, x + i));
      VF weight = square;
      if (group.importance[lane] != nullptr) {
        const VF root = hn::Sqrt(hn::Add(Set(sigma2[lane]), square));
        weight = hn::Mul(hn::LoadU(df, group.importance[lane] + first + i), root);
      }
      StoreLanes(weight, row + i);
    }
  }
  LoadTransposed(group.values.data(), first, kSize, part.values);
  LoadTransposed(rows, 0, kSize, part.weights);
}

// 2 / 256 of the sum of squares of each lane's super-block.
HWY_INLINE void LaneVariance(const BlockGroup& group, float* sigma2) {
  alignas(64) float values[32 * kMaxLanes];
  const std::size_t n = LaneCount();
  VF sum = Zero();
  for (std::size_t first = 0; first < 256; first += 32) {
    LoadTransposed(group.values.data(), first, 32, values);
    for (std::size_t i = 0; i < 32; ++i) {
      const VF x = LoadLanes(values + i * n);
      sum = hn::Add(sum, hn::Mul(x, x));
    }
  }
  StoreLanes(hn::Mul(Set(2.0f / 256.0f), sum), sigma2);
}

// Lanes of part.weights in sorted order.
template <std::size_t kSize>
HWY_INLINE VF SortedWeight(const PartLanes<kSize>& part, VI position) {
#if HWY_TARGET == HWY_SCALAR
  return LoadLanes(part.weights + hn::GetLane(position));
#else
  const DI di;
  const VI index =
      hn::Add(hn::Mul(position, hn::Set(di, static_cast<int>(LaneCount()))), hn::Iota(di, 0));
  return hn::GatherIndex(DF(), part.weights, index);
#endif
}

// [size][lane] to [lane][stride], size a multiple of the lanes.
HWY_INLINE void StoreByLane(const float* columns, std::size_t size, std::size_t stride,
                            float* out) {
  const std::size_t n = LaneCount();
  if (n == 1) {
    for (std::size_t i = 0; i < size; ++i) out[i] = columns[i];
    return;
  }
  alignas(64) float tile[kMaxLanes * kMaxLanes];
  for (std::size_t first = 0; first < size; first += n) {
    const float* rows[kMaxLanes];
    for (std::size_t i = 0; i < n; ++i) rows[i] = columns + (first + i) * n;
    LoadTransposed(rows, 0, n, tile);
    for (std::size_t lane = 0; lane < n; ++lane) {
      StoreLanes(LoadLanes(tile + lane * n), out + lane * stride + first);
    }
  }
}

// The split found for the part of each lane.
struct LaneSplits {
  alignas(64) float scale[kMaxLanes];
  alignas(64) float low_value[kMaxLanes];            // first sorted value of level 1 or more, and
  alignas(64) std::int32_t low_position[kMaxLanes];  // its position; infinity if there is none
  alignas(64) float middle_value[kMaxLanes];         // the same for level 2
  alignas(64) std::int32_t middle_position[kMaxLanes];
  alignas(64) std::int32_t mirrored[kMaxLanes];  // -1 where levels 0, 1, 2 become 2, 1, 0
  int shift[kMaxLanes];
  bool found[kMaxLanes];
};

// Shifts::Mirrored(shift) numbers the opposite shift, Shifts::IsDown(shift, group) reads one.
template <class Shifts, std::size_t kSize>
HWY_INLINE void SetSplit(const PartLanes<kSize>& part, std::size_t lane,
                         const SplitCandidate& split, LaneSplits& splits) {
  const std::size_t n = LaneCount();
  const auto low = static_cast<std::size_t>(split.low);
  const auto middle = static_cast<std::size_t>(split.middle);
  constexpr float kNone = std::numeric_limits<float>::infinity();
  splits.low_value[lane] = low < kSize ? part.sorted[low * n + lane] : kNone;
  splits.low_position[lane] = low < kSize ? part.position[low * n + lane] : 0;
  splits.middle_value[lane] = middle < kSize ? part.sorted[middle * n + lane] : kNone;
  splits.middle_position[lane] = middle < kSize ? part.position[middle * n + lane] : 0;
  // A negative scale is the positive one on mirrored levels and shifts.
  const float scale = split.product / split.norm;
  splits.mirrored[lane] = scale < 0.0f ? -1 : 0;
  splits.scale[lane] = scale < 0.0f ? -scale : scale;
  splits.shift[lane] = scale < 0.0f ? Shifts::Mirrored(split.shift) : split.shift;
}

HWY_INLINE VI AtOrAfter(VF value, std::size_t position, const float* from_value,
                        const std::int32_t* from_position) {
  const DI di;
  const VF limit = LoadLanes(from_value);
  const auto not_before =
      hn::Gt(hn::Set(di, static_cast<int>(position) + 1), hn::Load(di, from_position));
  const MF at = hn::And(hn::Eq(value, limit), hn::RebindMask(DF(), not_before));
  return hn::VecFromMask(di, hn::RebindMask(di, hn::Or(hn::Gt(value, limit), at)));
}

// index[g * lanes + lane]: base-3 number of the levels of the g-th eight values of each lane.
template <std::size_t kSize>
HWY_INLINE void LevelIndices(const PartLanes<kSize>& part, const LaneSplits& splits,
                             std::int32_t* index) {
  const DI di;
  const std::size_t n = LaneCount();
  for (std::size_t g = 0; g < kSize / 8; ++g) {
    VI number = hn::Zero(di);
    for (std::size_t i = 8 * g + 8; i-- > 8 * g;) {
      const VF x = LoadLanes(part.values + i * n);
      const VI low = AtOrAfter(x, i, splits.low_value, splits.low_position);
      const VI middle = AtOrAfter(x, i, splits.middle_value, splits.middle_position);
      number = hn::Sub(hn::Add(number, hn::ShiftLeft<1>(number)), hn::Add(low, middle));
    }
    const VI mirrored = hn::Sub(hn::Set(di, int{kTernaryIndices - 1}), number);
    const auto mirror = hn::MaskFromVec(hn::Load(di, splits.mirrored));
    hn::Store(hn::IfThenElse(mirror, mirrored, number), di, index + g * n);
  }
}

// ---- Neighbours

#if HWY_TARGET == HWY_SCALAR

HWY_INLINE VF LookUpTerm(const float* terms, VI level) {
  return LoadLanes(terms + hn::GetLane(level));
}

#else

HWY_INLINE VF LookUpTerm(const float* terms, VI level) {
  return hn::TableLookupLanes(hn::LoadDup128(DF(), terms), hn::IndicesFromVec(DF(), level));
}

#endif

// The first of `length` points with the least weighted distance; terms[4 * i + level] is what a
// level at place i adds.
HWY_INLINE std::uint16_t NearestPoint(const float* terms, const std::uint16_t* points,
                                      std::size_t length) {
  const DI di;
  const hn::Rebind<std::uint16_t, DF> du16;
  const VI level_mask = hn::Set(di, 3);
  VF least = Set(std::numeric_limits<float>::max());
  VI least_at = hn::Zero(di);
  for (std::size_t at = 0; at < length; at += LaneCount()) {
    VI levels = hn::PromoteTo(di, hn::LoadU(du16, points + at));
    VF sum = LookUpTerm(terms, hn::And(levels, level_mask));
    for (std::size_t i = 1; i < 8; ++i) {
      levels = hn::ShiftRight<2>(levels);
      sum = hn::Add(sum, LookUpTerm(terms + 4 * i, hn::And(levels, level_mask)));
    }
    const MF nearer = hn::Lt(sum, least);
    least = Select(nearer, sum, least);
    least_at =
        hn::IfThenElse(hn::RebindMask(di, nearer), hn::Set(di, static_cast<int>(at)), least_at);
  }
  const VF minimum = hn::MinOfLanes(DF(), least);
  const auto tied = hn::RebindMask(di, hn::Eq(least, minimum));
  const VI place = hn::IfThenElse(tied, hn::Add(least_at, hn::Iota(di, 0)), hn::Set(di, 0x7FFF));
  const int first = hn::GetLane(hn::MinOfLanes(di, place));
  return points[static_cast<std::size_t>(first) < length ? first : 0];
}

// The levels scale * (level - 1 + shift) of eight values, as close as the neighbour list allows.
HWY_INLINE std::uint16_t SnapToCodebook(const TernaryCodebook& codebook, const TernaryEntry& entry,
                                        const float* values, const float* weights, float scale,
                                        float shift) {
  const hn::CappedTag<float, 8> d;
  alignas(64) float terms[32];
  const auto term = [&](std::size_t i, float level) HWY_ATTR {
    const auto difference = hn::Sub(hn::Set(d, scale * level), hn::LoadU(d, values + i));
    return hn::Mul(hn::Mul(hn::LoadU(d, weights + i), difference), difference);
  };
  for (std::size_t i = 0; i < 8; i += hn::Lanes(d)) {
    const auto highest = term(i, 1.0f + shift);
    hn::StoreInterleaved4(term(i, -1.0f + shift), term(i, shift), highest, highest, d,
                          terms + 4 * i);
  }
  return NearestPoint(terms, codebook.neighbours + entry.neighbours, entry.length);
}

// Level at place `i` of each lane's point, -1 + shift ... 1 + shift with `base` = shift - 1.
HWY_INLINE VF PointLevel(VI point, int i, VF base) {
  const DI di;
  const VI level = hn::And(hn::ShiftRightSame(point, 2 * i), hn::Set(di, 3));
  return hn::Add(ToFloat(level), base);
}

// Points of the lanes' groups, [group][lane]; true for a lane where one is not what the split gave.
template <class Shifts, std::size_t kSize>
HWY_INLINE void SnapLanes(const BlockGroup& group, std::size_t first, const PartLanes<kSize>& part,
                          const TernaryCodebook& codebook, const LaneSplits& splits,
                          std::int32_t* points, bool* snapped) {
  const std::size_t n = LaneCount();
  LevelIndices(part, splits, points);
  // The lists lie scattered over 800 kB.
  const auto prefetch = [&](std::size_t lane) HWY_ATTR {
    for (std::size_t g = 0; g < kSize / 8; ++g) {
      const TernaryEntry& entry = codebook.entries[points[g * n + lane]];
      for (std::size_t line = 0; line < entry.length; line += 32) {
        hwy::Prefetch(codebook.neighbours + entry.neighbours + line);
      }
    }
  };
  constexpr std::size_t kAhead = 64 / kSize;
  for (std::size_t lane = 0; lane < kAhead && lane < n; ++lane) prefetch(lane);
  for (std::size_t lane = 0; lane < n; ++lane) {
    snapped[lane] = false;
    if (lane + kAhead < n) prefetch(lane + kAhead);
    if (!splits.found[lane]) continue;
    for (std::size_t g = 0; g < kSize / 8; ++g) {
      std::int32_t& point = points[g * n + lane];
      const TernaryEntry& entry = codebook.entries[point];
      if (entry.length == 0) {
        point = codebook.points[entry.point];
      } else {
        const float shift = Shifts::IsDown(splits.shift[lane], g) ? -0.125f : 0.125f;
        point = SnapToCodebook(codebook, entry, group.values[lane] + first + 8 * g,
                               part.weight_rows + lane * kSize + 8 * g, splits.scale[lane], shift);
        snapped[lane] = true;
      }
    }
  }
}

// Lowest level of group g of each lane: shift - 1.
template <class Shifts>
HWY_INLINE VF LowestLevels(const int* shift, std::size_t g) {
  alignas(64) float lowest[kMaxLanes];
  for (std::size_t lane = 0; lane < LaneCount(); ++lane) {
    lowest[lane] = Shifts::IsDown(shift[lane], g) ? -1.125f : -0.875f;
  }
  return LoadLanes(lowest);
}

// The least-squares scale of the points, for the lanes where the sums allow one; else zero.
template <class Shifts, std::size_t kSize>
HWY_INLINE void RefitLanes(const PartLanes<kSize>& part, const LaneSplits& splits,
                           const std::int32_t* points, float* scale) {
  const std::size_t n = LaneCount();
  VF product = Zero();
  VF norm = Zero();
  for (std::size_t g = 0; g < kSize / 8; ++g) {
    const VF lowest = LowestLevels<Shifts>(splits.shift, g);
    const VI point = hn::Load(DI(), points + g * n);
    for (std::size_t i = 0; i < 8; ++i) {
      const VF level = PointLevel(point, static_cast<int>(i), lowest);
      const VF weighted = hn::Mul(LoadLanes(part.weights + (8 * g + i) * n), level);
      product = hn::Add(product, hn::Mul(weighted, LoadLanes(part.values + (8 * g + i) * n)));
      norm = hn::Add(norm, hn::Mul(weighted, level));
    }
  }
  const MF usable = hn::And(hn::Gt(product, Zero()), hn::Gt(norm, Zero()));
  StoreLanes(SelectOrZero(usable, hn::Div(product, norm)), scale);
}

// What a part's split and points make of `fits`, one per lane.
template <std::size_t kSize>
HWY_INLINE void StorePart(std::size_t number, std::size_t lanes, const TernaryCodebook& codebook,
                          const LaneSplits& splits, const std::int32_t* points, const bool* snapped,
                          const float* refitted, TernaryFit* fits) {
  const std::size_t n = LaneCount();
  for (std::size_t lane = 0; lane < lanes; ++lane) {
    TernaryFit& fit = fits[lane];
    const bool found = splits.found[lane];
    const bool better = snapped[lane] && refitted[lane] > 0.0f;
    fit.scale[number] = !found ? 0.0f : better ? refitted[lane] : splits.scale[lane];
    fit.shift[number] = static_cast<std::uint8_t>(found ? splits.shift[lane] : 0);
    for (std::size_t g = 0; g < kSize / 8; ++g) {
      const auto point = static_cast<std::uint16_t>(points[g * n + lane]);
      fit.point[number * kSize / 8 + g] =
          found ? codebook.entries[ternary_index(point)].point : std::uint16_t{0};
    }
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
