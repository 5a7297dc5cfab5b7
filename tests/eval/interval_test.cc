// Intervals hold what they promise: values by hand, and coverage over many samples.
#include "eval/interval.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace qwodel {
namespace {

TEST(Interval, MeanAndErrorByHand) {
  const std::vector<double> values = {1, 2, 3, 6};
  const Mean mean = mean_of(values);
  EXPECT_DOUBLE_EQ(mean.value, 3);
  EXPECT_DOUBLE_EQ(mean.error, std::sqrt((12.5 - 9) / 3));  // mean of squares 50 / 4
  EXPECT_EQ(mean_of(std::vector<double>{5}).error, 0);
}

TEST(Interval, QuantilesInterpolate) {
  const std::vector<double> sorted = {0, 10, 20, 30, 40};
  EXPECT_DOUBLE_EQ(quantile(sorted, 0.5).value, 20);
  EXPECT_DOUBLE_EQ(quantile(sorted, 0.9).value, 36);
  EXPECT_DOUBLE_EQ(quantile(sorted, 1).high, 40);
  EXPECT_DOUBLE_EQ(quantile(sorted, 0).low, 0);
}

TEST(Interval, WilsonByHand) {
  const Estimate e = share(8, 10);  // (0.8 + 0.19207) / 1.38415 -+ 0.22661
  EXPECT_DOUBLE_EQ(e.value, 0.8);
  EXPECT_NEAR(e.low, 0.49016, 1e-5);
  EXPECT_NEAR(e.high, 0.94332, 1e-5);
  EXPECT_NEAR(share(10, 10).high, 1.0, 1e-12);
  EXPECT_LT(share(10, 10).low, 0.8);
}

// Of 1000 samples, 95 % of the intervals hold the truth; the bounds are 5 standard deviations.
TEST(Interval, CoverTheTruthAsOftenAsTheySay) {
  std::mt19937 random(3);
  std::exponential_distribution<double> draw(1.0);
  int mean_hits = 0;
  int median_hits = 0;
  int p99_hits = 0;
  const auto holds = [](const Estimate& e, double truth) {
    return e.low <= truth && truth <= e.high;
  };
  for (int sample = 0; sample < 1000; ++sample) {
    std::vector<double> values(1000);
    for (double& value : values) value = draw(random);
    mean_hits += holds(mean_of(values).estimate(), 1.0) ? 1 : 0;
    std::sort(values.begin(), values.end());
    median_hits += holds(quantile(values, 0.5), std::log(2.0)) ? 1 : 0;
    p99_hits += holds(quantile(values, 0.99), std::log(100.0)) ? 1 : 0;
  }
  for (const int hits : {mean_hits, median_hits, p99_hits}) {
    EXPECT_GT(hits, 915);
    EXPECT_LT(hits, 985);
  }
}

}  // namespace
}  // namespace qwodel
