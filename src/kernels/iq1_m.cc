#include "kernels/iq1_m.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/iq1_m.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include <algorithm>

#include "kernels/dispatch.h"
#include "kernels/iq1-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

constexpr std::size_t kPart = 16;
constexpr float kSmallest = 1e-7f;  // parts below this are zero

// Both halves of a part have a shift of their own: bit 1 of its number is set if the first half's
// levels are shifted down, bit 0 if the second's are.
struct TwoShifts {
  static int Mirrored(int shift) { return 3 - shift; }
  static bool IsDown(int shift, std::size_t group) { return (shift >> (1 - group) & 1) != 0; }
};

// Prefix sums over a part's sorted values, each half's values apart: entry i covers the first i.
// Room for whole vectors that start at entry 1.
struct HalfSums {
  alignas(64) float product[1 + kPart];  // of weight * value
  alignas(64) float weight[1 + kPart];
};

// Differences of the squared levels and the highest level, shifted up and shifted down.
struct ShiftedLevels {
  float highest, low_step, high_step;
};
constexpr ShiftedLevels kLevels[2] = {{1.125f, 0.75f, -1.25f}, {0.875f, 1.25f, -0.75f}};

struct PartSums {
  static constexpr std::size_t kSize = kPart;
  static constexpr int kShifts = 4;

  HalfSums half[2];

  static const ShiftedLevels& levels(int shift, std::size_t half) {
    return kLevels[TwoShifts::IsDown(shift, half) ? 1 : 0];
  }

  // As the reference forms the sums: a half's product is total * highest - prefixes, since
  // neighbouring levels differ by one.
  HWY_INLINE SplitCandidate candidate(int low, int middle, int shift) const {
    float product[2];
    float norm[2];
    for (std::size_t h = 0; h < 2; ++h) {
      const auto [highest, low_step, high_step] = levels(shift, h);
      const HalfSums& sums = half[h];
      product[h] = sums.product[kPart] * highest - (sums.product[low] + sums.product[middle]);
      norm[h] = sums.weight[kPart] * highest * highest + sums.weight[low] * low_step +
                sums.weight[middle] * high_step;
    }
    return {product[0] + product[1], norm[0] + norm[1], low, middle, shift};
  }

  HWY_INLINE void rough(RoughSums<kPart, kShifts>& sums) const {
    for (std::size_t i = 0; i <= kPart; ++i) {
      sums.prefix[i] = half[0].product[i] + half[1].product[i];
    }
    for (int shift = 0; shift < kShifts; ++shift) {
      const ShiftedLevels first = levels(shift, 0);
      const ShiftedLevels second = levels(shift, 1);
      const SplitCandidate all_high = candidate(0, 0, shift);
      sums.highest[shift] = all_high.product;
      for (std::size_t i = 0; i <= kPart; ++i) {
        sums.low_norm[shift][i] =
            half[0].weight[i] * first.low_step + half[1].weight[i] * second.low_step;
        sums.middle_norm[shift][i] = all_high.norm + (half[0].weight[i] * first.high_step +
                                                      half[1].weight[i] * second.high_step);
      }
    }
  }

  float total_weight() const { return half[0].weight[kPart] + half[1].weight[kPart]; }
};

// Prefix sums of the lanes' sorted values, [half][i][lane].
struct LaneSums {
  alignas(64) float product[2][kPart * kMaxLanes];
  alignas(64) float weight[2][kPart * kMaxLanes];
  alignas(64) float largest[kMaxLanes];
  alignas(64) float least_weight[kMaxLanes];
};

HWY_INLINE void SumSorted(const PartLanes<kPart>& part, LaneSums& sums) {
  const std::size_t n = LaneCount();
  VF product[2] = {Zero(), Zero()};
  VF total[2] = {Zero(), Zero()};
  VF high = Zero();
  VF least = Set(std::numeric_limits<float>::max());
  for (std::size_t i = 0; i < kPart; ++i) {
    const VF x = LoadLanes(part.sorted + i * n);
    const VI position = hn::Load(DI(), part.position + i * n);
    const VF weight = SortedWeight(part, position);
    const VF weighted = hn::Mul(weight, x);
    const MF second = hn::RebindMask(DF(), hn::Gt(position, hn::Set(DI(), int{kPart / 2 - 1})));
    for (std::size_t half = 0; half < 2; ++half) {
      const MF here = half == 1 ? second : hn::Not(second);
      product[half] = hn::Add(product[half], SelectOrZero(here, weighted));
      total[half] = hn::Add(total[half], SelectOrZero(here, weight));
      StoreLanes(product[half], sums.product[half] + i * n);
      StoreLanes(total[half], sums.weight[half] + i * n);
    }
    high = hn::Max(high, hn::Abs(x));
    least = hn::Min(least, weight);
  }
  StoreLanes(high, sums.largest);
  StoreLanes(least, sums.least_weight);
}

// Splits of the lanes' parts.
HWY_NOINLINE void SplitLanes(PartLanes<kPart>& part, LaneSplits& splits) {
  LaneSums sums;
  SortLanes<kPart>(part.values, part.sorted, part.position);
  SumSorted(part, sums);
  alignas(64) float product_rows[2][kMaxLanes * kPart];
  alignas(64) float weight_rows[2][kMaxLanes * kPart];
  for (std::size_t half = 0; half < 2; ++half) {
    StoreByLane(sums.product[half], kPart, kPart, product_rows[half]);
    StoreByLane(sums.weight[half], kPart, kPart, weight_rows[half]);
  }
  for (std::size_t lane = 0; lane < LaneCount(); ++lane) {
    PartSums of_lane;
    for (std::size_t half = 0; half < 2; ++half) {
      HalfSums& to = of_lane.half[half];
      to.product[0] = 0.0f;
      to.weight[0] = 0.0f;
      std::copy_n(product_rows[half] + lane * kPart, kPart, to.product + 1);
      std::copy_n(weight_rows[half] + lane * kPart, kPart, to.weight + 1);
    }
    SplitCandidate best{0.0f, 1.0f, 0, 0, 0};
    splits.found[lane] = sums.largest[lane] >= kSmallest &&
                         FindSplit(of_lane, sums.least_weight[lane] >= 0.0f, &best);
    SetSplit<TwoShifts>(part, lane, best, splits);
  }
}

HWY_INLINE void FitPart(const BlockGroup& group, std::size_t number, const float* sigma2,
                        const TernaryCodebook& codebook, TernaryFit* fits) {
  PartLanes<kPart> part;
  LaneSplits splits;
  alignas(64) std::int32_t points[kPart / 8 * kMaxLanes];
  alignas(64) float refitted[kMaxLanes];
  bool snapped[kMaxLanes];
  LoadPart(group, number * kPart, sigma2, part);
  SplitLanes(part, splits);
  SnapLanes<TwoShifts>(group, number * kPart, part, codebook, splits, points, snapped);
  RefitLanes<TwoShifts>(part, splits, points, refitted);
  StorePart<kPart>(number, group.count, codebook, splits, points, snapped, refitted, fits);
}

// A part's scale level for each lane, and what it adds to the sums that fit the block's scale.
HWY_INLINE void AddPart(const BlockGroup& group, std::size_t number, const float* sigma2,
                        VF inverse, const TernaryCodebook& codebook, TernaryFit* fits, VF* product,
                        VF* norm) {
  const std::size_t n = LaneCount();
  PartLanes<kPart> part;
  LoadPart(group, number * kPart, sigma2, part);
  alignas(64) float scale[kMaxLanes] = {};
  alignas(64) std::int32_t points[kMaxLanes] = {};
  alignas(64) std::int32_t levels[kMaxLanes];
  int shift[kMaxLanes] = {};
  for (std::size_t lane = 0; lane < group.count; ++lane) {
    scale[lane] = fits[lane].scale[number];
    shift[lane] = fits[lane].shift[number];
  }
  const VF exact = hn::Mul(Set(0.5f), hn::Sub(hn::Mul(inverse, LoadLanes(scale)), Set(1.0f)));
  const VI level = NearestIntClamped(exact, 0, 7);
  const VF multiple = ToFloat(hn::Add(hn::ShiftLeft<1>(level), hn::Set(DI(), 1)));
  hn::Store(level, DI(), levels);
  for (std::size_t g = 0; g < 2; ++g) {
    for (std::size_t lane = 0; lane < group.count; ++lane) {
      points[lane] = codebook.points[fits[lane].point[2 * number + g]];
      fits[lane].level[number] = static_cast<std::uint8_t>(levels[lane]);
    }
    const VF lowest = LowestLevels<TwoShifts>(shift, g);
    const VI point = hn::Load(DI(), points);
    for (std::size_t i = 0; i < 8; ++i) {
      const VF value = hn::Mul(PointLevel(point, static_cast<int>(i), lowest), multiple);
      const VF weighted = hn::Mul(LoadLanes(part.weights + (8 * g + i) * n), value);
      *product = hn::Add(*product, hn::Mul(weighted, LoadLanes(part.values + (8 * g + i) * n)));
      *norm = hn::Add(*norm, hn::Mul(weighted, value));
    }
  }
}

// Scale levels of the parts and the scale of the block; both zero where all parts are.
HWY_INLINE void FitScale(const BlockGroup& group, const float* sigma2,
                         const TernaryCodebook& codebook, TernaryFit* fits) {
  alignas(64) float largest[kMaxLanes] = {};
  for (std::size_t lane = 0; lane < group.count; ++lane) {
    largest[lane] = *std::max_element(fits[lane].scale, fits[lane].scale + 256 / kPart);
  }
  const VF step = hn::Div(LoadLanes(largest), Set(15.0f));
  const VF inverse = hn::Div(Set(1.0f), step);
  VF product = Zero();
  VF norm = Zero();
  for (std::size_t number = 0; number < 256 / kPart; ++number) {
    AddPart(group, number, sigma2, inverse, codebook, fits, &product, &norm);
  }
  alignas(64) float steps[kMaxLanes];
  StoreLanes(Select(hn::Gt(norm, Zero()), hn::Div(product, norm), step), steps);
  for (std::size_t lane = 0; lane < group.count; ++lane) {
    fits[lane].step = largest[lane] > 0.0f ? steps[lane] : 0.0f;
    if (!(largest[lane] > 0.0f)) {
      std::fill_n(fits[lane].level, 256 / kPart, std::uint8_t{0});
      std::fill_n(fits[lane].shift, 256 / kPart, std::uint8_t{0});
    }
  }
}

void FitIq1M(const BlockRows& rows, std::size_t first, std::size_t count,
             const TernaryCodebook& codebook, TernaryFit* fits) {
  for (std::size_t done = 0; done < count; done += LaneCount()) {
    BlockGroup group(rows, first + done, std::min(LaneCount(), count - done));
    alignas(64) float sigma2[kMaxLanes];
    LaneVariance(group, sigma2);
    for (std::size_t number = 0; number < 256 / kPart; ++number) {
      FitPart(group, number, sigma2, codebook, fits + done);
    }
    FitScale(group, sigma2, codebook, fits + done);
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(FitIq1M);

void fit_iq1_m(const BlockRows& rows, std::size_t first, std::size_t count,
               const TernaryCodebook& codebook, TernaryFit* fits) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(FitIq1M)(rows, first, count, codebook, fits);
}

}  // namespace qwodel
#endif  // HWY_ONCE
