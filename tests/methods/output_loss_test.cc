// The loss of a linear's outputs, against the outputs themselves.
#include "methods/output_loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "methods/second_moments.h"

namespace qwodel {
namespace {

constexpr std::size_t kWidth = 64;
constexpr std::size_t kRows = 150;  // tasks of 64 rows and a rest
constexpr std::size_t kTokens = 300;
constexpr GroupIntScheme kScheme{.bits = 3, .group_size = 32, .symmetric = false};

class OutputLosses : public testing::Test {
 protected:
  OutputLosses() {
    std::mt19937 generator(3);
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < kTokens * kWidth; ++i) {
      inputs_.push_back(normal(generator) * (i % kWidth == 5 ? 20.0f : 1.0f));
    }
    for (std::size_t i = 0; i < kRows * kWidth; ++i) weights_.push_back(normal(generator));
    moments_ = moments_of(inputs_);
  }

  static SecondMoments moments_of(const std::vector<float>& inputs) {
    InputSums sums;
    sums.counts = {kTokens};
    sums.sum_abs.resize(kWidth);
    for (std::size_t i = 0; i < kWidth; ++i) {
      for (std::size_t j = 0; j <= i; ++j) {
        double sum = 0;
        for (std::size_t t = 0; t < kTokens; ++t) {
          sum += static_cast<double>(inputs[t * kWidth + i]) *
                 static_cast<double>(inputs[t * kWidth + j]);
        }
        sums.gram.push_back(static_cast<float>(sum));
      }
    }
    return second_moments(sums, 0, kWidth);
  }

  static QuadraticForm form_of(const SecondMoments& moments) {
    return {moments.matrix(), ComputeType::f32};
  }

  // |X (a - b)^T|^2, row o of both times row_scales[o] (empty: 1).
  static double square(const std::vector<float>& inputs, const std::vector<float>& a,
                       const std::vector<float>& b, const std::vector<float>& row_scales = {}) {
    double total = 0;
    for (std::size_t t = 0; t < kTokens; ++t) {
      for (std::size_t o = 0; o < kRows; ++o) {
        double sum = 0;
        for (std::size_t i = 0; i < kWidth; ++i) {
          sum += static_cast<double>(inputs[t * kWidth + i]) *
                 (static_cast<double>(a[o * kWidth + i]) - static_cast<double>(b[o * kWidth + i]));
        }
        const double scale = row_scales.empty() ? 1.0 : static_cast<double>(row_scales[o]);
        total += scale * scale * sum * sum;
      }
    }
    return total;
  }

  static std::vector<float> decoded(const GroupIntMatrix& matrix) {
    std::vector<float> values(kRows * kWidth);
    for (std::size_t r = 0; r < kRows; ++r) {
      matrix.decode(r, std::span(values).subspan(r * kWidth, kWidth));
    }
    return values;
  }

  static GroupIntMatrix rounded(const std::vector<float>& weights, bool search) {
    GroupIntMatrix matrix(kScheme, kRows, kWidth);
    const ConstMatrixView view(weights.data(), kRows, kWidth);
    fit_rows(view, {}, search_of(kScheme, search), 0, matrix);
    round_rows(view, 0, matrix);
    return matrix;
  }

  static ConstMatrixView view(const std::vector<float>& weights) {
    return {weights.data(), kRows, kWidth};
  }

  const std::vector<float> zeros_ = std::vector<float>(kRows * kWidth);
  std::vector<float> inputs_, weights_;
  SecondMoments moments_;
  TaskThreads threads_{2};
};

TEST_F(OutputLosses, AreThoseOfTheOutputs) {
  const GroupIntMatrix quantized = rounded(weights_, true);
  const OutputLoss loss = OutputLossSample(view(weights_))
                              .measure(view(weights_), quantized, form_of(moments_), {}, threads_);
  const double energy = square(inputs_, weights_, zeros_);
  const double nearest = square(inputs_, decoded(rounded(weights_, false)), weights_) / energy;
  const double searched = square(inputs_, decoded(quantized), weights_) / energy;
  EXPECT_NEAR(loss.nearest, nearest, 1e-4 * nearest);
  EXPECT_NEAR(loss.quantized, searched, 1e-4 * searched);
  EXPECT_NE(loss.nearest, loss.quantized);
  EXPECT_GT(loss.nearest, 1e-4);
  // In bf16 moments and differences lose at most 2^-9 each, to either side.
  const QuadraticForm coarse(moments_.matrix(), ComputeType::bf16, SplitParts::high);
  const OutputLoss half =
      OutputLossSample(view(weights_)).measure(view(weights_), quantized, coarse, {}, threads_);
  EXPECT_NEAR(half.nearest, nearest, 2e-3 * nearest);
  EXPECT_NEAR(half.quantized, searched, 2e-3 * searched);
  EXPECT_NE(half.quantized, loss.quantized);
}

// Scales are no part of the outputs: what rounding would have given is what it gives without them.
TEST_F(OutputLosses, DoNotCountScales) {
  std::vector<float> columns(kWidth), rows(kRows), scaled = weights_, inputs = inputs_;
  for (std::size_t i = 0; i < kWidth; ++i) columns[i] = 0.5f + 0.05f * static_cast<float>(i);
  for (std::size_t o = 0; o < kRows; ++o) rows[o] = 1.0f + 0.01f * static_cast<float>(o);
  for (std::size_t i = 0; i < scaled.size(); ++i) {
    scaled[i] *= columns[i % kWidth] / rows[i / kWidth];
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) inputs[i] /= columns[i % kWidth];
  const GroupIntMatrix quantized = rounded(scaled, false);
  const OutputLoss loss = OutputLossSample(view(scaled))
                              .measure(view(scaled), quantized, form_of(moments_of(inputs)),
                                       {.columns = columns, .rows = rows}, threads_);
  const double energy = square(inputs_, weights_, zeros_);
  const double nearest = square(inputs_, decoded(rounded(weights_, false)), weights_) / energy;
  const double written = square(inputs, decoded(quantized), scaled, rows) / energy;
  EXPECT_NEAR(loss.nearest, nearest, 1e-2 * nearest);  // ties fall otherwise after two roundings
  EXPECT_NEAR(loss.quantized, written, 1e-4 * written);
}

TEST_F(OutputLosses, CompareWithWhatIsWanted) {
  std::vector<float> wanted = weights_;
  for (std::size_t i = 0; i < wanted.size(); i += 3) wanted[i] += 0.5f;
  const GroupIntMatrix quantized = rounded(wanted, false);
  const OutputLoss loss = OutputLossSample(view(wanted))
                              .measure(view(weights_), quantized, form_of(moments_), {}, threads_);
  const double energy = square(inputs_, wanted, zeros_);
  const double nearest = square(inputs_, decoded(rounded(weights_, false)), wanted) / energy;
  EXPECT_NEAR(loss.nearest, nearest, 1e-4 * nearest);
  EXPECT_LT(loss.quantized, 0.5 * loss.nearest);
}

TEST_F(OutputLosses, WithoutInputsThereIsNone) {
  moments_.gram.assign(moments_.gram.size(), 0.0f);
  const OutputLoss loss =
      OutputLossSample(view(weights_))
          .measure(view(weights_), rounded(weights_, true), form_of(moments_), {}, threads_);
  EXPECT_EQ(loss.nearest, 0);
  EXPECT_EQ(loss.quantized, 0);
}

}  // namespace
}  // namespace qwodel
