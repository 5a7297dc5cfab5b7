// k-means on a line against the definition: every division into intervals, by plain dynamic
// programming over all splits.
#include "methods/kmeans.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>

#include "kernels/dispatch.h"

namespace qwodel {
namespace {

struct Problem {
  std::vector<float> values;
  std::vector<double> weights;
};

Problem make_problem(std::size_t draws, unsigned seed, bool weighted) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::map<float, double> counts;
  for (std::size_t i = 0; i < draws; ++i) {
    // Few mantissa bits, so that values repeat.
    const float value = std::round(normal(generator) * 32) / 32;
    counts[value] += weighted ? static_cast<double>(1 + generator() % 1000) : 1.0;
  }
  Problem problem;
  for (const auto& [value, weight] : counts) {
    problem.values.push_back(value);
    problem.weights.push_back(weight);
  }
  return problem;
}

double interval_error(const Problem& problem, std::size_t begin, std::size_t end) {
  double weight = 0, moment = 0, error = 0;
  for (std::size_t i = begin; i < end; ++i) {
    weight += problem.weights[i];
    moment += problem.weights[i] * static_cast<double>(problem.values[i]);
  }
  for (std::size_t i = begin; i < end; ++i) {
    error +=
        problem.weights[i] * std::pow(static_cast<double>(problem.values[i]) - moment / weight, 2);
  }
  return error;
}

// least[k]: error of the best k + 1 clusters.
std::vector<double> least_errors(const Problem& problem, std::size_t clusters) {
  const std::size_t n = problem.values.size();
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  std::vector<double> before(n + 1, kInfinite), least;
  before[0] = 0;
  for (std::size_t k = 0; k < clusters; ++k) {
    std::vector<double> now(n + 1, kInfinite);
    for (std::size_t j = 1; j <= n; ++j) {
      for (std::size_t i = 0; i < j; ++i) {
        if (before[i] < kInfinite) {
          now[j] = std::min(now[j], before[i] + interval_error(problem, i, j));
        }
      }
    }
    least.push_back(now[n]);
    before = now;
  }
  return least;
}

class KMeansOnEveryTarget : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { use_kernel_target(GetParam()); }
  void TearDown() override { use_kernel_target(""); }
};

TEST_P(KMeansOnEveryTarget, FindsTheLeastError) {
  LineKMeans kmeans;
  for (unsigned seed = 1; seed <= 12; ++seed) {
    const Problem problem = make_problem(30 + 20 * seed, seed, seed % 2 == 0);
    const std::size_t most = std::min<std::size_t>(problem.values.size(), 20);
    const std::vector<double> least = least_errors(problem, most);
    for (std::size_t k = 1; k <= most; ++k) {
      const LineClusters found = kmeans.solve(problem.values, problem.weights, k);
      ASSERT_EQ(found.begins.size(), k);
      ASSERT_NEAR(found.error, least[k - 1], 1e-10 * least[0]) << seed << " " << k;
    }
  }
}

TEST_P(KMeansOnEveryTarget, GivesTheSameClusters) {
  const Problem problem = make_problem(100000, 5, true);
  LineKMeans kmeans;
  const LineClusters here = kmeans.solve(problem.values, problem.weights, 40);
  use_kernel_target("");
  const LineClusters best = kmeans.solve(problem.values, problem.weights, 40);
  EXPECT_EQ(here.begins, best.begins);
  EXPECT_EQ(here.centers, best.centers);
}

INSTANTIATE_TEST_SUITE_P(Kernels, KMeansOnEveryTarget, testing::ValuesIn(kernel_targets()),
                         [](const auto& suite) { return suite.param; });

TEST(KMeans, MoreClustersNeverHaveMoreError) {
  const Problem problem = make_problem(50000, 3, false);
  ASSERT_GT(problem.values.size(), 150u);
  LineKMeans kmeans;
  double before = std::numeric_limits<double>::infinity();
  for (std::size_t k = 1; k <= 256; ++k) {
    const double error = kmeans.solve(problem.values, problem.weights, k).error;
    if (k <= problem.values.size()) {
      EXPECT_LT(error, before) << k;
    } else {
      EXPECT_EQ(error, 0) << k;
    }
    before = error;
  }
}

TEST(KMeans, CentersAreMeansOfTheirIntervals) {
  const Problem problem = make_problem(2000, 4, true);
  LineKMeans kmeans;
  const LineClusters found = kmeans.solve(problem.values, problem.weights, 9);
  ASSERT_EQ(found.begins.front(), 0u);
  for (std::size_t k = 0; k < 9; ++k) {
    const std::size_t end = k + 1 < 9 ? found.begins[k + 1] : problem.values.size();
    ASSERT_LT(found.begins[k], end);
    double weight = 0, moment = 0;
    for (std::size_t i = found.begins[k]; i < end; ++i) {
      weight += problem.weights[i];
      moment += problem.weights[i] * static_cast<double>(problem.values[i]);
    }
    EXPECT_NEAR(found.centers[k], moment / weight, 1e-12);
  }
}

TEST(KMeans, OneValueIsOneCluster) {
  LineKMeans kmeans;
  const std::vector<float> values = {-2.5f};
  const std::vector<double> weights = {7};
  const LineClusters found = kmeans.solve(values, weights, 16);
  EXPECT_EQ(found.centers, std::vector<double>{-2.5});
  EXPECT_EQ(found.error, 0);
}

}  // namespace
}  // namespace qwodel
