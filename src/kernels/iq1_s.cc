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

// Prefix sums over a part's sorted values: entry i is the sum of the first i. Room for whole
// vectors that start at entry 1.
struct PrefixSums {
  alignas(64) float product[1 + kPart];  // of weight * value
  alignas(64) float weight[1 + kPart];
};

// The sums as the reference forms them, term by term.
HWY_INLINE float ProductOf(const PrefixSums& sums, int low, int middle, const float* levels) {
  return (sums.product[low] - sums.product[0]) * levels[0] +
         (sums.product[middle] - sums.product[low]) * levels[1] +
         (sums.product[kPart] - sums.product[middle]) * levels[2];
}

HWY_INLINE float NormOf(const PrefixSums& sums, int low, int middle, const float* levels) {
  return (sums.weight[low] - sums.weight[0]) * levels[0] * levels[0] +
         (sums.weight[middle] - sums.weight[low]) * levels[1] * levels[1] +
         (sums.weight[kPart] - sums.weight[middle]) * levels[2] * levels[2];
}

HWY_INLINE SplitCandidate MakeCandidate(const PrefixSums& sums, int low, int middle, int shift) {
  const float* const levels = shift == kShiftUp ? kUp : kDown;
  return {ProductOf(sums, low, middle, levels), NormOf(sums, low, middle, levels), low, middle,
          shift};
}

// The reference's walk over every split.
HWY_NOINLINE bool WalkAllSplits(const PrefixSums& sums, SplitCandidate* best) {
  float score = -std::numeric_limits<float>::max();
  bool found = false;
  for (int low = 0; low <= static_cast<int>(kPart); ++low) {
    for (int middle = low; middle <= static_cast<int>(kPart); ++middle) {
      for (const int shift : {kShiftUp, kShiftDown}) {
        const SplitCandidate candidate = MakeCandidate(sums, low, middle, shift);
        if (!beats(candidate, score)) continue;
        score = rounded_score(candidate);
        *best = candidate;
        found = true;
      }
    }
  }
  return found;
}

// Rough scores of all splits: lane j of vector v at row `low` is the better shift's score of the
// split (low, 1 + v * lanes + j), or 0 where that is none.
struct ScoreTable {
  static constexpr std::size_t kMaxRows = 1 + kPart;
  alignas(64) float scores[kMaxRows * kPart];  // [low][middle - 1]
  float best;
};

// What a group contributes to product and norm under both shifts, per first or last entry of it.
struct Contributions {
  VF product_up, product_down, norm_up, norm_down;
};

HWY_INLINE Contributions ContributionsOf(VF product, VF weight, float up, float down) {
  return {hn::Mul(product, Set(up)), hn::Mul(product, Set(down)), hn::Mul(weight, Set(up * up)),
          hn::Mul(weight, Set(down * down))};
}

HWY_INLINE VF RoughScore(const Contributions& lowest, const Contributions& highest, VF product,
                         VF weight) {
  const VF up = hn::Add(hn::Add(lowest.product_up, product), highest.product_up);
  const VF down = hn::Add(hn::Sub(lowest.product_down, product), highest.product_down);
  const VF norm_up = hn::Add(hn::Add(lowest.norm_up, weight), highest.norm_up);
  const VF norm_down = hn::Add(hn::Add(lowest.norm_down, weight), highest.norm_down);
  return hn::Max(hn::Mul(hn::Mul(up, up), RoughReciprocal(norm_up)),
                 hn::Mul(hn::Mul(down, down), RoughReciprocal(norm_down)));
}

HWY_NOINLINE void ScoreSplits(const PrefixSums& sums, ScoreTable& table) {
  const int n = static_cast<int>(LaneCount());
  const VF total_product = Set(sums.product[kPart]);
  const VF total_weight = Set(sums.weight[kPart]);
  VF best = Zero();
  for (int first = 1; first <= static_cast<int>(kPart); first += n) {
    const VF product = LoadLanes(sums.product + first);
    const VF weight = LoadLanes(sums.weight + first);
    const Contributions highest = ContributionsOf(hn::Sub(total_product, product),
                                                  hn::Sub(total_weight, weight), kUp[2], kDown[2]);
    // The middle level is +-1/8.
    const VF product_middle = hn::Mul(product, Set(0.125f));
    const VF weight_middle = hn::Mul(weight, Set(0.015625f));
    const VF lane = hn::Iota(DF(), static_cast<float>(first));
    for (int low = 0; low < first + n; ++low) {
      const VF low_product = Set(sums.product[low]);
      const VF low_weight = Set(sums.weight[low]);
      VF score = RoughScore(ContributionsOf(low_product, low_weight, kUp[0], kDown[0]), highest,
                            hn::Sub(product_middle, hn::Mul(low_product, Set(0.125f))),
                            hn::Sub(weight_middle, hn::Mul(low_weight, Set(0.015625f))));
      if (low > first) score = SelectOrZero(hn::Ge(lane, Set(static_cast<float>(low))), score);
      best = hn::Max(best, score);
      StoreLanes(score, table.scores + static_cast<std::size_t>(low) * kPart + first - 1);
    }
  }
  table.best = hn::GetLane(hn::MaxOfLanes(DF(), best));
}

// The near-best splits in the reference's order. False if there are too many.
HWY_NOINLINE bool Collect(const PrefixSums& sums, const ScoreTable& table,
                          SplitCandidate* candidates, std::size_t* count) {
  const int n = static_cast<int>(LaneCount());
  const float enough = table.best * kRoughScore;
  const VF limit = Set(enough);
  *count = 0;
  const auto push = [&](int low, int middle) {
    for (const int shift : {kShiftUp, kShiftDown}) {
      const SplitCandidate candidate = MakeCandidate(sums, low, middle, shift);
      if (candidate.product * candidate.product >= enough * candidate.norm) {
        candidates[(*count)++] = candidate;
      }
    }
  };
  push(0, 0);
  for (int low = 0; low <= static_cast<int>(kPart); ++low) {
    const int start = low == 0 ? 1 : low - (low - 1) % n;
    for (int first = start; first <= static_cast<int>(kPart); first += n) {
      const float* const scores = table.scores + static_cast<std::size_t>(low) * kPart + first - 1;
      if (!AnyLane(hn::Ge(LoadLanes(scores), limit))) continue;
      for (int middle = first; middle < first + n; ++middle) {
        if (scores[middle - first] < enough) continue;
        if (*count + 2 > kMaxCandidates) return false;
        push(low, middle);
      }
    }
  }
  return true;
}

HWY_INLINE bool FindSplit(const PrefixSums& sums, bool ordinary_weights, SplitCandidate* best) {
  ScoreTable table;
  ScoreSplits(sums, table);
  if (ordinary_weights && IsRegular(sums.weight[kPart], table.best)) {
    SplitCandidate candidates[kMaxCandidates];
    std::size_t count;
    if (Collect(sums, table, candidates, &count)) {
      const SplitCandidate* const last = last_accepted(candidates, count);
      if (last != nullptr) {
        *best = *last;
        return true;
      }
    }
  }
  return WalkAllSplits(sums, best);
}

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
