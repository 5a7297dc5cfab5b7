#include "kernels/iq1_s.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/iq1_s.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include <algorithm>

#include "kernels/dispatch.h"
#include "kernels/iq1-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

constexpr std::size_t kPart = 32;
constexpr float kSmallest = 1e-12f;  // parts below this are zero

// Levels shifted up and down by 1/8: their values and how they are numbered in SplitCandidate.
constexpr float kUp[3] = {-0.875f, 0.125f, 1.125f};
constexpr float kDown[3] = {-1.125f, -0.125f, 0.875f};
constexpr int kShiftUp = 0;
constexpr int kShiftDown = 1;

// How the shared steps read a shift's number.
struct OneShift {
  static int Mirrored(int shift) { return kShiftUp + kShiftDown - shift; }
  static bool IsDown(int shift, std::size_t /*group*/) { return shift == kShiftDown; }
};

// Prefix sums over a part's sorted values: entry i is the sum of the first i.
struct PrefixSums {
  static constexpr std::size_t kSize = kPart;
  static constexpr int kShifts = 2;

  alignas(64) float product[1 + kPart];  // of weight * value
  alignas(64) float weight[1 + kPart];

  // Term by term as the reference adds up the three groups.
  HWY_INLINE SplitCandidate candidate(int low, int middle, int shift) const {
    const float* const levels = shift == kShiftUp ? kUp : kDown;
    const float sum = (product[low] - product[0]) * levels[0] +
                      (product[middle] - product[low]) * levels[1] +
                      (product[kPart] - product[middle]) * levels[2];
    const float norm = (weight[low] - weight[0]) * levels[0] * levels[0] +
                       (weight[middle] - weight[low]) * levels[1] * levels[1] +
                       (weight[kPart] - weight[middle]) * levels[2] * levels[2];
    return {sum, norm, low, middle, shift};
  }

  HWY_INLINE void rough(RoughSums<kPart, kShifts>& sums) const {
    std::copy_n(product, 1 + kPart, sums.prefix);
    for (int shift = 0; shift < kShifts; ++shift) {
      const float* const levels = shift == kShiftUp ? kUp : kDown;
      const float low_step = levels[0] * levels[0] - levels[1] * levels[1];
      const float high_step = levels[1] * levels[1] - levels[2] * levels[2];
      const float all = weight[kPart] * levels[2] * levels[2];
      sums.highest[shift] = product[kPart] * levels[2];
      for (std::size_t i = 0; i <= kPart; ++i) {
        sums.low_norm[shift][i] = weight[i] * low_step;
        sums.middle_norm[shift][i] = all + weight[i] * high_step;
      }
    }
  }

  float total_weight() const { return weight[kPart]; }
};

// Splits of the lanes' parts, in `splits`.
HWY_NOINLINE void SplitLanes(PartLanes<kPart>& part, LaneSplits& splits) {
  const std::size_t n = LaneCount();
  alignas(64) float products[kPart * kMaxLanes];
  alignas(64) float weights[kPart * kMaxLanes];
  alignas(64) float largest[kMaxLanes];
  alignas(64) float least_weight[kMaxLanes];
  SortLanes<kPart>(part.values, part.sorted, part.position);
  VF product = Zero();
  VF total = Zero();
  VF high = Zero();
  VF least = Set(std::numeric_limits<float>::max());
  for (std::size_t i = 0; i < kPart; ++i) {
    const VF x = LoadLanes(part.sorted + i * n);
    const VF weight = SortedWeight(part, hn::Load(DI(), part.position + i * n));
    product = hn::Add(product, hn::Mul(weight, x));
    total = hn::Add(total, weight);
    high = hn::Max(high, hn::Abs(x));
    least = hn::Min(least, weight);
    StoreLanes(product, products + i * n);
    StoreLanes(total, weights + i * n);
  }
  StoreLanes(high, largest);
  StoreLanes(least, least_weight);
  alignas(64) float product_rows[kMaxLanes * kPart];
  alignas(64) float weight_rows[kMaxLanes * kPart];
  StoreByLane(products, kPart, kPart, product_rows);
  StoreByLane(weights, kPart, kPart, weight_rows);
  for (std::size_t lane = 0; lane < n; ++lane) {
    PrefixSums sums;
    sums.product[0] = 0.0f;
    sums.weight[0] = 0.0f;
    std::copy_n(product_rows + lane * kPart, kPart, sums.product + 1);
    std::copy_n(weight_rows + lane * kPart, kPart, sums.weight + 1);
    SplitCandidate best{0.0f, 1.0f, 0, 0, kShiftUp};
    splits.found[lane] =
        largest[lane] >= kSmallest && FindSplit(sums, least_weight[lane] >= 0.0f, &best);
    SetSplit<OneShift>(part, lane, best, splits);
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
  SnapLanes<OneShift>(group, number * kPart, part, codebook, splits, points, snapped);
  RefitLanes<OneShift>(part, splits, points, refitted);
  StorePart<kPart>(number, group.count, codebook, splits, points, snapped, refitted, fits);
}

void FitIq1S(const BlockRows& rows, std::size_t first, std::size_t count,
             const TernaryCodebook& codebook, TernaryFit* fits) {
  for (std::size_t done = 0; done < count; done += LaneCount()) {
    BlockGroup group(rows, first + done, std::min(LaneCount(), count - done));
    alignas(64) float sigma2[kMaxLanes];
    LaneVariance(group, sigma2);
    for (std::size_t number = 0; number < 256 / kPart; ++number) {
      FitPart(group, number, sigma2, codebook, fits + done);
    }
  }
}

void DecodeTernaryPoints(const std::uint16_t* points, const float* scale, const float* shift,
                         std::size_t groups, float* values) {
  const hn::CappedTag<float, 8> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::RebindToUnsigned<decltype(d)> du;
  const std::size_t lanes = hn::Lanes(d);
  const auto shifts = hn::ShiftLeft<1>(hn::Iota(du, 0));
  for (std::size_t g = 0; g < groups; ++g) {
    const auto factor = hn::Set(d, scale[g]);
    const auto lowest = hn::Set(d, shift[g] - 1.0f);
    for (std::size_t i = 0; i < 8; i += lanes) {
      const auto codes = hn::Shr(hn::Set(du, std::uint32_t{points[g]} >> 2 * i), shifts);
      const auto level = hn::BitCast(di, hn::And(codes, hn::Set(du, 3u)));
      hn::StoreU(hn::Mul(factor, hn::Add(hn::ConvertTo(d, level), lowest)), d, values + 8 * g + i);
    }
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(FitIq1S);
HWY_EXPORT(DecodeTernaryPoints);

void fit_iq1_s(const BlockRows& rows, std::size_t first, std::size_t count,
               const TernaryCodebook& codebook, TernaryFit* fits) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(FitIq1S)(rows, first, count, codebook, fits);
}

void decode_ternary_points(const std::uint16_t* points, const float* scale, const float* shift,
                           std::size_t groups, float* values) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(DecodeTernaryPoints)(points, scale, shift, groups, values);
}

}  // namespace qwodel
#endif  // HWY_ONCE
