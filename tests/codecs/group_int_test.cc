#include "codecs/group_int.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "kernels/dispatch.h"

namespace qwodel {
namespace {

std::vector<float> random_values(std::size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

double squared_error(const GroupIntMatrix& matrix, const std::vector<float>& values,
                     const std::vector<float>& importance = {}) {
  std::vector<float> row(matrix.cols);
  double sum = 0;
  for (std::size_t r = 0; r < matrix.rows; ++r) {
    matrix.decode(r, row);
    for (std::size_t c = 0; c < matrix.cols; ++c) {
      const double error =
          static_cast<double>(row[c]) - static_cast<double>(values[r * matrix.cols + c]);
      sum += error * error * (importance.empty() ? 1.0 : static_cast<double>(importance[c]));
    }
  }
  return sum;
}

GroupIntMatrix quantized(const std::vector<float>& values, std::size_t rows, std::size_t cols,
                         const GroupIntScheme& scheme, const GroupSearch& search,
                         std::span<const float> importance = {}) {
  GroupIntMatrix matrix(scheme, rows, cols);
  const ConstMatrixView view(values.data(), rows, cols);
  fit_rows(view, importance, search, 0, matrix);
  round_rows(view, 0, matrix);
  return matrix;
}

// Of rounding_errors(), on every instruction set: what the codes decode to, less the values.
void expect_errors_of_codes(const GroupIntScheme& scheme, std::size_t rows, std::size_t cols) {
  const auto values = random_values(rows * cols, 12);
  auto matrix = quantized(values, rows, cols, scheme, search_of(scheme, false));
  for (float& scale : matrix.scales) scale *= 0.7f;  // so that the ends are clipped
  const ConstMatrixView view(values.data(), rows, cols);
  round_rows(view, 0, matrix);
  std::vector<float> row(cols), errors(rows * cols);
  for (const std::string& target : kernel_targets()) {
    use_kernel_target(target);
    rounding_errors(view, scheme, matrix.scales, matrix.zeros, errors);
    for (std::size_t r = 0; r < rows; ++r) {
      matrix.decode(r, row);
      for (std::size_t c = 0; c < cols; ++c) {
        ASSERT_EQ(errors[r * cols + c], row[c] - values[r * cols + c]) << target;
      }
    }
  }
  use_kernel_target("");
}

TEST(GroupInt, RangeOfGptqsQuantizer) {
  // max |w| = 7.5, so the symmetric scale is 1 and codes are w + 8 rounded half to even.
  const std::vector<float> values = {-7.5f, 7.5f, 0.5f, 1.5f, -0.5f, 0.0f, 3.2f, -3.7f};
  const GroupIntScheme scheme{.bits = 4, .group_size = 8, .symmetric = true};
  const auto matrix = quantized(values, 1, 8, scheme, search_of(scheme, false));
  EXPECT_EQ(matrix.scales[0], 1.0f);
  EXPECT_EQ(matrix.zeros[0], 8);
  EXPECT_EQ(matrix.codes, (std::vector<std::uint8_t>{0, 15, 8, 10, 8, 8, 11, 4}));
}

TEST(GroupInt, ColumnsMayBeOfOtherGroups) {
  GroupIntMatrix matrix({.bits = 4, .group_size = 4, .symmetric = false}, 2, 8);
  matrix.codes = {0, 1, 2, 3, 4, 5, 6, 7, 7, 6, 5, 4, 3, 2, 1, 0};
  matrix.scales = {1.0f, 10.0f, 0.5f, 2.0f};
  matrix.zeros = {1, 2, 3, 0};
  matrix.group_index = {1, 0, 1, 0, 0, 1, 0, 1};
  std::vector<float> row(8);
  matrix.decode(0, row);
  EXPECT_EQ(row, (std::vector<float>{-20, 0, 0, 2, 3, 30, 5, 50}));
  matrix.decode(1, row);
  EXPECT_EQ(row, (std::vector<float>{14, 1.5f, 10, 0.5f, 0, 4, -1, 0}));
}

TEST(GroupInt, AsymmetricRangeIncludesZero) {
  // All positive: the range is [0, 15], so scale 1 and zero point 0.
  const std::vector<float> values = {1.0f, 15.0f, 2.4f, 7.0f};
  const GroupIntScheme scheme{.bits = 4, .group_size = 4, .symmetric = false};
  const auto matrix = quantized(values, 1, 4, scheme, search_of(scheme, false));
  EXPECT_EQ(matrix.scales[0], 1.0f);
  EXPECT_EQ(matrix.zeros[0], 0);
  EXPECT_EQ(matrix.codes, (std::vector<std::uint8_t>{1, 15, 2, 7}));
}

class GroupIntSchemes : public testing::TestWithParam<std::tuple<unsigned, bool>> {};

TEST_P(GroupIntSchemes, SearchIsBetterThanTheRangeAndErrorHasItsSize) {
  const auto [bits, symmetric] = GetParam();
  const GroupIntScheme scheme{.bits = bits, .group_size = 64, .symmetric = symmetric};
  const auto values = random_values(48 * 256, 7);
  const double plain =
      squared_error(quantized(values, 48, 256, scheme, search_of(scheme, false)), values);
  const double searched =
      squared_error(quantized(values, 48, 256, scheme, search_of(scheme, true)), values);
  EXPECT_LT(searched, plain);
  // Uniform rounding of step s has mean squared error s^2 / 12; with clipping it stays above the
  // rate-distortion bound sigma^2 4^-bits and below that of the whole range.
  const double mean = searched / static_cast<double>(values.size());
  EXPECT_GT(mean, 0.02 * 0.02 * std::pow(4.0, -static_cast<double>(bits)));
  EXPECT_LT(mean, 0.02 * 0.02 * std::pow(4.0, -static_cast<double>(bits)) * 4);
}

TEST_P(GroupIntSchemes, ImportanceMovesErrorAway) {
  const auto [bits, symmetric] = GetParam();
  const GroupIntScheme scheme{.bits = bits, .group_size = 64, .symmetric = symmetric};
  const auto values = random_values(48 * 256, 8);
  std::vector<float> importance(256);
  for (std::size_t i = 0; i < 256; ++i) importance[i] = i % 8 == 0 ? 100.0f : 0.1f;
  const auto search = search_of(scheme, true);
  const auto weighted = quantized(values, 48, 256, scheme, search, importance);
  const auto plain = quantized(values, 48, 256, scheme, search);
  EXPECT_LT(squared_error(weighted, values, importance), squared_error(plain, values, importance));
}

TEST_P(GroupIntSchemes, EveryInstructionSetGivesTheSame) {
  const auto [bits, symmetric] = GetParam();
  const GroupIntScheme scheme{.bits = bits, .group_size = 32, .symmetric = symmetric};
  const auto values = random_values(21 * 96, 9);
  use_kernel_target(kernel_targets().back());
  const auto expected = quantized(values, 21, 96, scheme, search_of(scheme, true));
  for (const std::string& target : kernel_targets()) {
    use_kernel_target(target);
    const auto found = quantized(values, 21, 96, scheme, search_of(scheme, true));
    EXPECT_EQ(found.codes, expected.codes) << target;
    EXPECT_EQ(found.scales, expected.scales) << target;
    EXPECT_EQ(found.zeros, expected.zeros) << target;
  }
  use_kernel_target("");
}

TEST_P(GroupIntSchemes, ErrorsAreThoseOfTheNearestCodes) {
  const auto [bits, symmetric] = GetParam();
  const GroupIntScheme scheme{.bits = bits, .group_size = 20, .symmetric = symmetric};
  expect_errors_of_codes(scheme, 7, 60);
}

INSTANTIATE_TEST_SUITE_P(Widths, GroupIntSchemes,
                         testing::Combine(testing::Values(2u, 3u, 4u, 5u, 8u), testing::Bool()));

TEST(GroupInt, ErrorsOfFloat8) {
  expect_errors_of_codes({.bits = 8, .group_size = 20, .codes = CodeKind::float8}, 7, 60);
}

TEST(GroupInt, SignedScalesHelpOneSidedGroups) {
  // The largest weight is positive: only a negative scale gives it the code -8.
  std::vector<float> values = random_values(64 * 32, 10);
  for (std::size_t r = 0; r < 64; ++r) values[r * 32] = 0.08f;
  const GroupIntScheme scheme{.bits = 4, .group_size = 32, .symmetric = true};
  GroupSearch search = search_of(scheme, true);
  const double positive = squared_error(quantized(values, 64, 32, scheme, search), values);
  search.signed_scale = true;
  const auto matrix = quantized(values, 64, 32, scheme, search);
  EXPECT_LT(squared_error(matrix, values), positive);
  EXPECT_TRUE(std::ranges::any_of(matrix.scales, [](float s) { return s < 0; }));
}

TEST(GroupInt, ZerosAndTinyAndHugeGroups) {
  const GroupIntScheme scheme{.bits = 4, .group_size = 4, .symmetric = false};
  std::vector<float> values(16, 0.0f);
  for (std::size_t i = 4; i < 8; ++i) values[i] = 1e-12f;
  for (std::size_t i = 8; i < 12; ++i) values[i] = 3e38f;
  values[12] = -3e38f;
  const auto matrix = quantized(values, 1, 16, scheme, search_of(scheme, true));
  std::vector<float> decoded(16);
  matrix.decode(0, decoded);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(decoded[i], 0.0f);
  for (const float scale : matrix.scales) EXPECT_TRUE(std::isfinite(scale) && scale != 0.0f);
  for (const float value : decoded) EXPECT_TRUE(std::isfinite(value));
}

}  // namespace
}  // namespace qwodel
