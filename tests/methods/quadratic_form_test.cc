// The sum of x G x^T against the same in double, at widths with one block and several, whole panels
// and a rest.
#include "methods/quadratic_form.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace qwodel {
namespace {

class QuadraticForms : public testing::TestWithParam<std::size_t> {
 protected:
  QuadraticForms() : generator_(static_cast<unsigned>(n_)) {
    std::normal_distribution<float> normal;
    for (float& value : matrix_) value = normal(generator_);
    for (std::size_t r = 0; r < n_; ++r) {
      for (std::size_t c = 0; c < r; ++c) matrix_[c * n_ + r] = matrix_[r * n_ + c];
    }
    for (float& value : rows_) value = normal(generator_);
  }

  ConstMatrixView matrix() const { return {matrix_.data(), n_, n_}; }

  static constexpr std::size_t kRows = 5;
  static constexpr std::size_t kStrideRest = 3;  // rows lie apart
  std::size_t n_ = GetParam();
  std::mt19937 generator_;
  std::vector<float> matrix_ = std::vector<float>(n_ * n_);
  std::vector<float> rows_ = std::vector<float>(kRows * (n_ + kStrideRest));
};

TEST_P(QuadraticForms, EqualsTheSumOfAllProducts) {
  double expected = 0;
  double magnitude = 0;
  for (std::size_t r = 0; r < kRows; ++r) {
    const float* x = rows_.data() + r * (n_ + kStrideRest);
    for (std::size_t i = 0; i < n_; ++i) {
      for (std::size_t j = 0; j < n_; ++j) {
        const double term = static_cast<double>(x[i]) * static_cast<double>(x[j]) *
                            static_cast<double>(matrix_[i * n_ + j]);
        expected += term;
        magnitude += std::fabs(term);
      }
    }
  }
  const ConstMatrixView rows(rows_.data(), kRows, n_, n_ + kStrideRest);
  SplitBuffers buffers;
  const double sum = QuadraticForm(matrix(), ComputeType::f32).sum(rows, buffers);
  EXPECT_NEAR(sum, expected, 1e-6 * magnitude);
  EXPECT_GT(std::fabs(expected), 1e-4 * magnitude);  // so that a wrong sum is seen
  // The rows lose at most 2^-9 of each value, the matrix 2^-17.
  const double half = QuadraticForm(matrix(), ComputeType::bf16).sum(rows, buffers);
  EXPECT_NEAR(half, expected, 0x1.1p-9 * magnitude);
  if (n_ > 1) {
    EXPECT_NE(half, sum);
  }
  // Without the low parts the matrix loses 2^-9, too.
  const double coarse =
      QuadraticForm(matrix(), ComputeType::bf16, SplitParts::high).sum(rows, buffers);
  EXPECT_NEAR(coarse, expected, 0x1.1p-8 * magnitude);
  if (n_ > 1) {
    EXPECT_NE(coarse, half);
  }
}

// Only the lower triangle is read.
TEST_P(QuadraticForms, TakesTheLowerTriangle) {
  SplitBuffers buffers;
  const ConstMatrixView rows(rows_.data(), kRows, n_, n_ + kStrideRest);
  const double whole = QuadraticForm(matrix(), ComputeType::f32).sum(rows, buffers);
  for (std::size_t r = 0; r < n_; ++r) {
    for (std::size_t c = r + 1; c < n_; ++c) matrix_[r * n_ + c] = NAN;
  }
  EXPECT_EQ(QuadraticForm(matrix(), ComputeType::f32).sum(rows, buffers), whole);
}

INSTANTIATE_TEST_SUITE_P(Widths, QuadraticForms, testing::Values(1, 96, 128, 129, 576, 1100));

}  // namespace
}  // namespace qwodel
