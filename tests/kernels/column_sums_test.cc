// Column sums are the same on every kernel target and right; transposing moves every value.
#include "kernels/column_sums.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "core/half.h"
#include "kernels/dispatch.h"

namespace qwodel {
namespace {

struct Sums {
  std::vector<double> sum_abs;
  std::vector<double> sum_squares;
  std::vector<float> max_abs;
  bool operator==(const Sums&) const = default;
};

std::vector<float> values_of(std::size_t count) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.1f, 3.0f);
  std::vector<float> values(count);
  for (float& x : values) x = normal(random);
  return values;
}

Sums sums_of(ConstMatrixView rows) {
  Sums sums{std::vector<double>(rows.cols), std::vector<double>(rows.cols),
            std::vector<float>(rows.cols)};
  add_column_sums(rows, sums.sum_abs.data(), sums.sum_squares.data(), sums.max_abs.data());
  return sums;
}

TEST(ColumnSums, AreTheSameOnEveryTargetAndRight) {
  constexpr std::size_t kRows = 2 * kRowsPerRun + 100;
  constexpr std::size_t kCols = 77;
  constexpr std::size_t kStride = 80;
  const std::vector<float> values = values_of(kRows * kStride);
  const ConstMatrixView rows(values.data(), kRows, kCols, kStride);
  const Sums expected = sums_of(rows);
  for (const std::string& target : kernel_targets()) {
    use_kernel_target(target);
    EXPECT_EQ(sums_of(rows), expected) << target;
  }
  use_kernel_target("");
  for (std::size_t j = 0; j < kCols; ++j) {
    double sum_abs = 0;
    double sum_squares = 0;
    float max_abs = 0;
    for (std::size_t i = 0; i < kRows; ++i) {
      const float x = rows.row(i)[j];
      sum_abs += std::abs(static_cast<double>(x));
      sum_squares += static_cast<double>(x) * static_cast<double>(x);
      max_abs = std::max(max_abs, std::abs(x));
    }
    EXPECT_NEAR(expected.sum_abs[j], sum_abs, 2e-6 * sum_abs);
    EXPECT_NEAR(expected.sum_squares[j], sum_squares, 2e-6 * sum_squares);
    EXPECT_EQ(expected.max_abs[j], max_abs);
  }
}

}  // namespace
}  // namespace qwodel
