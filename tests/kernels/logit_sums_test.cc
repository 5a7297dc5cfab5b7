// On every kernel target, sums over tiles of the vocabulary give the logarithm of the sum of
// exponentials and the divergence that long double arithmetic over whole rows gives.
#include "kernels/logit_sums.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/dispatch.h"

namespace qwodel {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

class LogitSumsOnEveryTarget : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { use_kernel_target(GetParam()); }
  void TearDown() override { use_kernel_target(""); }
};

long double log_sum_exp(const std::vector<float>& row) {
  const long double max = *std::max_element(row.begin(), row.end());
  long double sum = 0;
  for (const float x : row) sum += std::exp(static_cast<long double>(x) - max);
  return max + std::log(sum);
}

long double divergence(const std::vector<float>& p, const std::vector<float>& q) {
  const long double lse_p = log_sum_exp(p);
  const long double lse_q = log_sum_exp(q);
  long double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (std::isinf(p[i])) continue;
    const long double log_p = p[i] - lse_p;
    sum += std::exp(log_p) * (log_p - (q[i] - lse_q));
  }
  return sum;
}

std::vector<float> random_row(std::size_t count, float scale, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> row(count);
  for (float& x : row) x = normal(random);
  return row;
}

LogitPairSums in_tiles(const std::vector<float>& p, const std::vector<float>& q, std::size_t tile) {
  LogitPairSums sums;
  for (std::size_t i = 0; i < p.size(); i += tile) {
    add_logit_pair(p.data() + i, q.data() + i, std::min(tile, p.size() - i), i, sums);
  }
  return sums;
}

TEST_P(LogitSumsOnEveryTarget, LogSumExpOfRowsInTilesOfAnySize) {
  for (const float scale : {0.1f, 3.0f, 40.0f}) {
    const std::vector<float> row = random_row(1031, scale, 1);
    for (const std::size_t tile : {1u, 7u, 64u, 1031u}) {
      LogitSums sums;
      for (std::size_t i = 0; i < row.size(); i += tile) {
        add_logits(row.data() + i, std::min(tile, row.size() - i), i, sums);
      }
      EXPECT_NEAR(sums.log_sum_exp(), static_cast<double>(log_sum_exp(row)), 1e-12 * (1 + scale));
      EXPECT_EQ(sums.argmax,
                static_cast<std::size_t>(std::max_element(row.begin(), row.end()) - row.begin()));
    }
  }
}

TEST_P(LogitSumsOnEveryTarget, DivergenceOfFarAndOfNearlyEqualModels) {
  for (const float noise : {2.0f, 1e-1f, 1e-3f, 1e-5f}) {
    const std::vector<float> p = random_row(5003, 4.0f, 2);
    std::vector<float> q = random_row(5003, noise, 3);
    for (std::size_t i = 0; i < q.size(); ++i) q[i] += p[i] + 11.0f;  // a shift changes nothing
    const auto expected = static_cast<double>(divergence(p, q));
    EXPECT_GT(expected, 0.0);
    for (const std::size_t tile : {1u, 96u, 1024u, 5003u}) {
      const double found = in_tiles(p, q, tile).kl_divergence();
      EXPECT_NEAR(found, expected, 1e-6 * expected + 2e-13)
          << "noise " << noise << " tile " << tile;
    }
  }
}

TEST_P(LogitSumsOnEveryTarget, ARowHasNoDivergenceFromItself) {
  const std::vector<float> row = random_row(777, 6.0f, 4);
  EXPECT_NEAR(in_tiles(row, row, 100).kl_divergence(), 0.0, 1e-15);
}

TEST_P(LogitSumsOnEveryTarget, TokensThatCannotFollowWeighNothing) {
  std::vector<float> p = random_row(300, 2.0f, 5);
  std::vector<float> q = random_row(300, 2.0f, 6);
  std::fill(p.begin(), p.begin() + 130, kNever);  // whole tiles of them, too
  EXPECT_NEAR(in_tiles(p, q, 64).kl_divergence(), static_cast<double>(divergence(p, q)), 1e-13);
  q[200] = kNever;
  EXPECT_TRUE(std::isinf(in_tiles(p, q, 64).kl_divergence()));
}

TEST_P(LogitSumsOnEveryTarget, TheFirstOfEqualLogitsIsTheLargest) {
  std::vector<float> row(100, 0.0f);
  row[40] = row[41] = row[90] = 2.0f;
  const LogitPairSums sums = in_tiles(row, row, 32);
  EXPECT_EQ(sums.p.argmax, 40u);
  EXPECT_EQ(sums.q.argmax, 40u);
}

INSTANTIATE_TEST_SUITE_P(Targets, LogitSumsOnEveryTarget, testing::ValuesIn(kernel_targets()),
                         [](const auto& target) { return target.param; });

}  // namespace
}  // namespace qwodel
