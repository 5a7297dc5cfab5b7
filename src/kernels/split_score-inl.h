// The best split of a part's sorted values into three groups, by scoring all of them roughly and
// the near-best exactly. Included once per target.

#if defined(QWODEL_KERNELS_SPLIT_SCORE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QWODEL_KERNELS_SPLIT_SCORE_INL_H_
#undef QWODEL_KERNELS_SPLIT_SCORE_INL_H_
#else
#define QWODEL_KERNELS_SPLIT_SCORE_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <limits>

#include "kernels/lanes-inl.h"
#include "kernels/split_search.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Three groups with the levels v0, v1, v2, one apart, make a split's sums out of prefix sums:
//   product(low, middle) = total * v2 - prefix(low) - prefix(middle)
//   norm(low, middle)    = total_weight * v2^2 + weight(low) * (v0^2 - v1^2)
//                                              + weight(middle) * (v1^2 - v2^2)
// Entry i is about the first i values; vectors start at entry 1.
template <std::size_t kSize, int kShifts>
struct RoughSums {
  alignas(64) float prefix[1 + kSize];
  float highest[kShifts];                             // total * v2
  alignas(64) float low_norm[kShifts][1 + kSize];     // weight * (v0^2 - v1^2)
  alignas(64) float middle_norm[kShifts][1 + kSize];  // the rest of the norm
};

// Rough scores: [low][middle - 1] is the best shift's, 0 where that is no split.
template <std::size_t kSize>
struct ScoreTable {
  alignas(64) float scores[(1 + kSize) * kSize];
  float best;
};

// About 1 / v, to 2^-11.
HWY_INLINE VF RoughReciprocal(VF v) {
  const VF guess = hn::ApproximateReciprocal(v);
#if HWY_ARCH_ARM
  return hn::Mul(guess, hn::Sub(Set(2.0f), hn::Mul(v, guess)));
#else
  return guess;
#endif
}

template <std::size_t kSize, int kShifts>
HWY_NOINLINE void ScoreSplits(const RoughSums<kSize, kShifts>& sums, ScoreTable<kSize>& table) {
  const std::size_t n = LaneCount();
  VF best = Zero();
  for (std::size_t first = 1; first <= kSize; first += n) {
    VF product[kShifts];
    VF norm[kShifts];
    for (int shift = 0; shift < kShifts; ++shift) {
      product[shift] = hn::Sub(Set(sums.highest[shift]), LoadLanes(sums.prefix + first));
      norm[shift] = LoadLanes(sums.middle_norm[shift] + first);
    }
    const auto score_row = [&](std::size_t low) HWY_ATTR {
      const VF prefix = Set(sums.prefix[low]);
      VF score = Zero();
      for (int shift = 0; shift < kShifts; ++shift) {
        const VF sum = hn::Sub(product[shift], prefix);
        const VF reciprocal = RoughReciprocal(hn::Add(norm[shift], Set(sums.low_norm[shift][low])));
        score = hn::Max(score, hn::Mul(hn::Mul(sum, sum), reciprocal));
      }
      return score;
    };
    float* const scores = table.scores + first - 1;
    std::size_t low = 0;
    for (; low <= first; ++low) {
      const VF score = score_row(low);
      best = hn::Max(best, score);
      StoreLanes(score, scores + low * kSize);
    }
    const VF middle = hn::Iota(DF(), static_cast<float>(first));
    for (; low < first + n; ++low) {
      const MF is_split = hn::Ge(middle, Set(static_cast<float>(low)));
      const VF score = SelectOrZero(is_split, score_row(low));
      best = hn::Max(best, score);
      StoreLanes(score, scores + low * kSize);
    }
  }
  table.best = hn::GetLane(hn::MaxOfLanes(DF(), best));
}

// Scores and sums in ranges where single precision behaves: nothing rounds to a subnormal.
HWY_INLINE bool IsRegular(float total_weight, float rough_best) {
  const double weight = total_weight;
  const double best = rough_best;
  return weight >= 0x1p-100 && weight <= 0x1p100 && best >= 0x1p-100 && best <= 0x1p100 &&
         weight * best >= 0x1p-104 && weight * best <= 0x1p110;
}

// Sums (a template argument below) are a part's prefix sums as the reference keeps them:
//   kSize, kShifts
//   candidate(low, middle, shift)   product and norm with the reference's rounding
//   rough(&RoughSums)               the same sums for ScoreSplits
//   total_weight()

// The near-best splits in the reference's order; how many, or 0 if too many.
template <class Sums>
HWY_NOINLINE std::size_t CollectSplits(const Sums& sums, const ScoreTable<Sums::kSize>& table,
                                       SplitCandidate* candidates) {
  const int n = static_cast<int>(LaneCount());
  const float enough = table.best * kRoughScore;
  const VF limit = Set(enough);
  std::size_t count = 0;
  const auto push = [&](int low, int middle) {
    for (int shift = 0; shift < Sums::kShifts; ++shift) {
      const SplitCandidate candidate = sums.candidate(low, middle, shift);
      if (candidate.product * candidate.product >= enough * candidate.norm) {
        candidates[count++] = candidate;
      }
    }
  };
  push(0, 0);
  for (int low = 0; low <= static_cast<int>(Sums::kSize); ++low) {
    const float* const scores = table.scores + static_cast<std::size_t>(low) * Sums::kSize;
    const int start = low == 0 ? 0 : low - 1 - (low - 1) % n;
    for (int at = start; at < static_cast<int>(Sums::kSize); at += n) {
      if (!AnyLane(hn::Ge(LoadLanes(scores + at), limit))) continue;
      for (int middle = at; middle < at + n; ++middle) {
        if (scores[middle] < enough) continue;
        if (count + Sums::kShifts > kMaxCandidates) return 0;
        push(low, middle + 1);
      }
    }
  }
  return count;
}

// The reference's walk over every split.
template <class Sums>
HWY_NOINLINE bool WalkAllSplits(const Sums& sums, SplitCandidate* best) {
  float score = -std::numeric_limits<float>::max();
  bool found = false;
  for (int low = 0; low <= static_cast<int>(Sums::kSize); ++low) {
    for (int middle = low; middle <= static_cast<int>(Sums::kSize); ++middle) {
      for (int shift = 0; shift < Sums::kShifts; ++shift) {
        const SplitCandidate candidate = sums.candidate(low, middle, shift);
        if (!beats(candidate, score)) continue;
        score = rounded_score(candidate);
        *best = candidate;
        found = true;
      }
    }
  }
  return found;
}

// The split at which the reference ends; false if there is none (all weights are zero).
template <class Sums>
HWY_INLINE bool FindSplit(const Sums& sums, bool ordinary_weights, SplitCandidate* best) {
  RoughSums<Sums::kSize, Sums::kShifts> rough;
  ScoreTable<Sums::kSize> table;
  sums.rough(rough);
  ScoreSplits(rough, table);
  if (ordinary_weights && IsRegular(sums.total_weight(), table.best)) {
    SplitCandidate candidates[kMaxCandidates];
    const SplitCandidate* const last =
        last_accepted(candidates, CollectSplits(sums, table, candidates));
    if (last != nullptr) {
      *best = *last;
      return true;
    }
  }
  return WalkAllSplits(sums, best);
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
