// The short cut over near-best splits ends where the walk over all of them does.
#include "kernels/split_search.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace qwodel {
namespace {

// The definition: move on to every candidate that beats the score held.
std::size_t walk(const std::vector<SplitCandidate>& all) {
  float score = -std::numeric_limits<float>::max();
  std::size_t held = all.size();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!beats(all[i], score)) continue;
    score = rounded_score(all[i]);
    held = i;
  }
  return held;
}

double score_of(const SplitCandidate& candidate) {
  return static_cast<double>(candidate.product) * candidate.product / candidate.norm;
}

// Candidates of random norms whose scores are 1 - offset up to rounding.
SplitCandidate candidate_near_one(std::mt19937& random, double offset, int number) {
  const float norm = std::uniform_real_distribution<float>(0.2f, 5.0f)(random);
  const double product = std::sqrt((1.0 - offset) * static_cast<double>(norm));
  return {static_cast<float>(random() % 2 == 0 ? product : -product), norm, number, number, 0};
}

// Those that the callers would pass on: what scores at least kRoughScore of the best.
std::vector<SplitCandidate> near_best(const std::vector<SplitCandidate>& all) {
  double best = 0;
  for (const SplitCandidate& candidate : all) best = std::max(best, score_of(candidate));
  std::vector<SplitCandidate> result;
  for (const SplitCandidate& candidate : all) {
    if (score_of(candidate) >= best * static_cast<double>(kRoughScore)) result.push_back(candidate);
  }
  return result;
}

// `near` candidates within a few roundings of each other and of 1, the others spread below.
std::vector<SplitCandidate> make_candidates(std::mt19937& random, int near, int others) {
  std::vector<SplitCandidate> all;
  std::uniform_real_distribution<double> unit(0.0, 1.0);
  for (int i = 0; i < near + others; ++i) {
    const bool is_near = static_cast<int>(random() % static_cast<unsigned>(near + others)) < near;
    const double offset = is_near ? unit(random) * 0x1p-23 : std::pow(unit(random), 4.0) * 0.5;
    all.push_back(candidate_near_one(random, offset, i));
  }
  return all;
}

TEST(SplitSearch, EndsWhereTheWalkOverAllSplitsEnds) {
  std::mt19937 random(1);
  int where_order_counts = 0;
  for (int trial = 0; trial < 20000; ++trial) {
    const std::vector<SplitCandidate> all = make_candidates(random, 1 + trial % 12, 50);
    const std::vector<SplitCandidate> near = near_best(all);
    ASSERT_LE(near.size(), kMaxCandidates);
    const SplitCandidate* const last = last_accepted(near.data(), near.size());
    ASSERT_NE(last, nullptr) << "trial " << trial;
    const SplitCandidate& expected = all[walk(all)];
    ASSERT_EQ(last->low, expected.low) << "trial " << trial;
    double best = 0;
    for (const SplitCandidate& candidate : all) best = std::max(best, score_of(candidate));
    if (score_of(expected) < best) ++where_order_counts;
  }
  // In many of these cases the reference does not end at the very best: rounding and order count.
  EXPECT_GT(where_order_counts, 1000);
}

// Scores that rise by less than rounding from one to the next, after splits that are not near-best.
TEST(SplitSearch, FollowsALongSlope) {
  std::vector<SplitCandidate> all;
  for (int i = 0; i < 500; ++i) {
    const double score = i < 440 ? 0.99 * i / 440 : 1.0 + (i - 440) * 0x1p-24;
    all.push_back({static_cast<float>(std::sqrt(score * 3)), 3.0f, i, i, 0});
  }
  const std::vector<SplitCandidate> near = near_best(all);
  ASSERT_EQ(near.size(), 60u);
  EXPECT_EQ(last_accepted(near.data(), near.size())->low, all[walk(all)].low);
  EXPECT_EQ(last_accepted(near.data(), 0), nullptr);
}

}  // namespace
}  // namespace qwodel
