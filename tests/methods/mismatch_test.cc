// Weights that make up for what a quantized model reads: the normal equations, solved here in
// double precision.
#include "methods/mismatch.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace qwodel {
namespace {

constexpr std::size_t kWidth = 24;
constexpr std::size_t kRows = 7;
constexpr std::size_t kTokens = 200;

struct Streams {
  std::vector<float> original, quantized;  // [tokens, width]
};

// Correlated columns; the second stream is the first with noise and a column that leaks.
Streams make_streams() {
  std::mt19937 generator(5);
  std::normal_distribution<float> normal;
  Streams streams;
  for (std::size_t t = 0; t < kTokens; ++t) {
    float common = 0;
    for (std::size_t c = 0; c < kWidth; ++c) {
      common = 0.7f * common + normal(generator);
      streams.original.push_back(common);
      streams.quantized.push_back(common + 0.2f * normal(generator) +
                                  (c > 0 ? 0.1f * streams.original[t * kWidth + c - 1] : 0.0f));
    }
  }
  return streams;
}

// left^T right / tokens.
std::vector<float> moments(const std::vector<float>& left, const std::vector<float>& right) {
  std::vector<double> sums(kWidth * kWidth);
  for (std::size_t t = 0; t < kTokens; ++t) {
    for (std::size_t i = 0; i < kWidth; ++i) {
      for (std::size_t j = 0; j < kWidth; ++j) {
        sums[i * kWidth + j] +=
            static_cast<double>(left[t * kWidth + i]) * static_cast<double>(right[t * kWidth + j]);
      }
    }
  }
  std::vector<float> result;
  for (const double sum : sums) result.push_back(static_cast<float>(sum / kTokens));
  return result;
}

double output_loss(const Streams& streams, const std::vector<float>& original,
                   const std::vector<float>& changed) {
  double loss = 0;
  for (std::size_t t = 0; t < kTokens; ++t) {
    for (std::size_t o = 0; o < kRows; ++o) {
      double difference = 0;
      for (std::size_t c = 0; c < kWidth; ++c) {
        difference += static_cast<double>(streams.original[t * kWidth + c]) *
                          static_cast<double>(original[o * kWidth + c]) -
                      static_cast<double>(streams.quantized[t * kWidth + c]) *
                          static_cast<double>(changed[o * kWidth + c]);
      }
      loss += difference * difference;
    }
  }
  return loss;
}

class Mismatch : public testing::TestWithParam<ColumnOrder> {
 protected:
  Mismatch() : streams_(make_streams()) {
    std::mt19937 generator(9);
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < kRows * kWidth; ++i) weights_.push_back(normal(generator));
    const auto gram = moments(streams_.quantized, streams_.quantized);
    factor_ = factorize_hessian({gram.data(), kWidth, kWidth},
                                {.damp_percent = 1e-6, .order = GetParam()}, "test");
    std::vector<float> difference = streams_.original;
    for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= streams_.quantized[i];
    const auto cross = moments(difference, streams_.quantized);
    cross_ = cross;
    shift_ = mismatch({cross.data(), kWidth, kWidth}, factor_);
  }

  std::vector<float> compensated(float strength) const {
    std::vector<float> changed = weights_;
    compensate({changed.data(), kRows, kWidth}, {shift_.data(), kWidth, kWidth}, strength);
    return changed;
  }

  Streams streams_;
  std::vector<float> weights_;
  HessianFactor factor_;
  std::vector<float> cross_;
  std::vector<float> shift_;
};

// At the minimum of a quadratic, every small step makes it larger.
TEST_P(Mismatch, NoStepFromTheCompensatedWeightsIsBetter) {
  const std::vector<float> best = compensated(1);
  const double loss = output_loss(streams_, weights_, best);
  EXPECT_LT(loss, 0.8 * output_loss(streams_, weights_, weights_));
  EXPECT_GT(loss, 0.0);
  for (std::size_t i = 0; i < best.size(); ++i) {
    for (const float step : {0.02f, -0.02f}) {
      std::vector<float> moved = best;
      moved[i] += step;
      EXPECT_GT(output_loss(streams_, weights_, moved), loss) << i;
    }
  }
}

TEST_P(Mismatch, StrengthIsAPathBetweenTheTwo) {
  const std::vector<float> half = compensated(0.5f);
  const std::vector<float> best = compensated(1);
  EXPECT_EQ(compensated(0), weights_);
  for (std::size_t i = 0; i < half.size(); ++i) {
    EXPECT_NEAR(half[i], (weights_[i] + best[i]) / 2, 1e-5);
  }
}

TEST_P(Mismatch, FewRowsNeedNoMatrixInBetween) {
  std::vector<float> changed = weights_;
  compensate_few({changed.data(), kRows, kWidth}, {cross_.data(), kWidth, kWidth}, factor_, 1);
  const std::vector<float> wanted = compensated(1);
  for (std::size_t i = 0; i < changed.size(); ++i) EXPECT_NEAR(changed[i], wanted[i], 1e-5);
}

// Wider than a run of the triangle: rows of D H^-1 times H are those of D.
TEST_P(Mismatch, WideFactorsAreMultipliedInRuns) {
  constexpr std::size_t kWide = 600;
  std::mt19937 generator(3);
  std::normal_distribution<float> normal;
  std::vector<float> gram(kWide * kWide), cross(kWide * kWide);
  for (std::size_t i = 0; i < kWide; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      const float value = i == j ? 4.0f + static_cast<float>(i % 7) : 0.05f * normal(generator);
      gram[i * kWide + j] = gram[j * kWide + i] = value;
    }
  }
  for (float& value : cross) value = normal(generator);
  const HessianFactor factor = factorize_hessian(
      {gram.data(), kWide, kWide}, {.damp_percent = 1e-6, .order = GetParam()}, "test");
  const std::vector<float> product = mismatch({cross.data(), kWide, kWide}, factor);
  for (const std::size_t row : {std::size_t{0}, kWide / 2, kWide - 1}) {
    for (std::size_t j = 0; j < kWide; ++j) {
      double sum = 0;
      for (std::size_t k = 0; k < kWide; ++k) {
        sum += static_cast<double>(product[row * kWide + k]) *
               static_cast<double>(gram[k * kWide + j]);
      }
      ASSERT_NEAR(sum, cross[row * kWide + j], 2e-4) << row << " " << j;
    }
  }
}

TEST_P(Mismatch, EqualStreamsChangeNothing) {
  const std::vector<float> zeros(kWidth * kWidth);
  for (const float value : mismatch({zeros.data(), kWidth, kWidth}, factor_)) EXPECT_EQ(value, 0);
}

INSTANTIATE_TEST_SUITE_P(Orders, Mismatch,
                         testing::Values(ColumnOrder::natural, ColumnOrder::activation));

}  // namespace
}  // namespace qwodel
