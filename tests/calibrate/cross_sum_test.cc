#include "calibrate/cross_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "kernels/convert.h"

namespace qwodel {
namespace {

std::vector<float> random_rows(std::size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

TEST(CrossSum, IsTheProductOfTheDifferencesWithTheRows) {
  constexpr std::size_t kWidth = 300, kRows = 5000;
  const auto y = random_rows(kRows * kWidth, 1);
  const auto x = random_rows(kRows * kWidth, 2);
  const auto sum_of = [&](ComputeType compute, int threads) {
    CrossSum sum(kWidth);
    TokenFactor difference(compute), factor(compute);
    const TaskThreads arena(threads);
    std::size_t first = 0;
    for (const std::size_t count : {std::size_t{700}, std::size_t{4096}, std::size_t{204}}) {
      const ConstMatrixView left(y.data() + first * kWidth, count, kWidth);
      const ConstMatrixView right(x.data() + first * kWidth, count, kWidth);
      difference.assign_difference(left, right, arena);
      factor.assign(right, arena);
      sum.add(difference, factor, arena);
      first += count;
    }
    return std::move(sum).scaled(1.0f / kRows);
  };
  const auto exact = sum_of(ComputeType::f32, 2);
  const auto rounded = sum_of(ComputeType::bf16, 2);
  EXPECT_EQ(exact, sum_of(ComputeType::f32, 1));
  EXPECT_EQ(rounded, sum_of(ComputeType::bf16, 1));
  for (std::size_t i = 0; i < kWidth; i += 37) {
    for (std::size_t j = 0; j < kWidth; j += 23) {
      double want = 0;
      for (std::size_t r = 0; r < kRows; ++r) {
        const float difference = y[r * kWidth + i] - x[r * kWidth + i];
        want += static_cast<double>(difference) * static_cast<double>(x[r * kWidth + j]);
      }
      want /= kRows;
      EXPECT_NEAR(exact[i * kWidth + j], want, 2e-6);
      EXPECT_NEAR(rounded[i * kWidth + j], want, 3e-4);
    }
  }
  EXPECT_NE(exact, rounded);
}

// Rows that are bf16 already, against sums in double precision of the values they have.
TEST(CrossSum, TakesRowsThatAreRounded) {
  constexpr std::size_t kWidth = 96, kRows = 700;
  const auto bits_of = [](const std::vector<float>& values) {
    std::vector<std::uint16_t> bits(values.size());
    float_to_bfloat16(values.data(), values.size(), bits.data());
    return bits;
  };
  const auto value_of = [](std::uint16_t bits) {
    float value = 0;
    bfloat16_to_float(&bits, 1, &value);
    return static_cast<double>(value);
  };
  const auto y = bits_of(random_rows(kRows * kWidth, 3));
  const auto x = bits_of(random_rows(kRows * kWidth, 4));
  const Matrix<const std::uint16_t> left(y.data(), kRows, kWidth);
  const Matrix<const std::uint16_t> right(x.data(), kRows, kWidth);
  const TaskThreads arena(2);
  for (const ComputeType compute : {ComputeType::f32, ComputeType::bf16}) {
    CrossSum sum(kWidth);
    TokenFactor difference(compute), factor(compute);
    difference.assign_difference(left, right, arena);
    factor.assign(right, arena);
    sum.add(difference, factor, arena);
    const auto found = std::move(sum).scaled(1.0f / kRows);
    const double bound = compute == ComputeType::f32 ? 2e-6 : 3e-4;
    double worst = 0;
    for (std::size_t i = 0; i < kWidth; i += 7) {
      for (std::size_t j = 0; j < kWidth; j += 5) {
        double want = 0;
        for (std::size_t r = 0; r < kRows; ++r) {
          want += (value_of(y[r * kWidth + i]) - value_of(x[r * kWidth + i])) *
                  value_of(x[r * kWidth + j]);
        }
        worst =
            std::max(worst, std::fabs(static_cast<double>(found[i * kWidth + j]) - want / kRows));
      }
    }
    EXPECT_LT(worst, bound);
    if (compute == ComputeType::bf16) {
      EXPECT_GT(worst, 1e-5);  // differences are rounded again
    }
  }
}

}  // namespace
}  // namespace qwodel
