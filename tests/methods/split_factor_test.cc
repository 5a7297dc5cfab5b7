// Products with a matrix that was split into two of bf16, against products in double.
#include "methods/split_factor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace qwodel {
namespace {

class SplitFactors : public testing::TestWithParam<ComputeType> {
 protected:
  static constexpr std::size_t kRows = 7, kOut = 70, kColumns = 96;

  // The largest error of a product of the first `columns`, relative to the sum of magnitudes.
  double worst_error(const std::vector<float>& x, std::size_t columns) const {
    std::mt19937 generator(3);
    std::normal_distribution<float> normal;
    std::vector<float> values(kOut * columns), out(kRows * kOut);
    for (float& value : values) value = 1 + normal(generator) * 0x1p-10f;
    const SplitFactor factor({values.data(), kOut, columns}, GetParam());
    SplitRows rows;
    rows.assign({x.data(), kRows, kColumns}, GetParam());
    factor.multiply(rows, MatrixView(out.data(), kRows, kOut));
    double worst = 0;
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t n = 0; n < kOut; ++n) {
        double expected = 0, magnitude = 0;
        for (std::size_t c = 0; c < columns; ++c) {
          const double term = static_cast<double>(x[r * kColumns + c]) *
                              static_cast<double>(values[n * columns + c]);
          expected += term;
          magnitude += std::abs(term);
        }
        const auto found = static_cast<double>(out[r * kOut + n]);
        worst = std::max(worst, std::abs(found - expected) / magnitude);
      }
    }
    return worst;
  }

  std::vector<float> rows(bool fit_bf16) const {
    std::mt19937 generator(4);
    std::uniform_int_distribution<int> coarse(-100, 100);
    std::normal_distribution<float> fine;
    std::vector<float> x(kRows * kColumns);
    for (float& value : x)
      value = fit_bf16 ? static_cast<float>(coarse(generator)) : fine(generator);
    return x;
  }
};

// One bf16 would lose 2^-9 of the matrix: all of what its values differ by here.
TEST_P(SplitFactors, TheMatrixKeepsTwiceTheBits) {
  EXPECT_LT(worst_error(rows(true), kColumns), 0x1p-17);
  EXPECT_LT(worst_error(rows(true), 64), 0x1p-17);
}

TEST_P(SplitFactors, RowsAreRoundedOnce) {
  const bool rounds = GetParam() == ComputeType::bf16;
  const double error = worst_error(rows(false), kColumns);
  EXPECT_LT(error, rounds ? 0x1.01p-9 : 0x1p-20);
  EXPECT_GT(error, rounds ? 0x1p-14 : 0);
}

INSTANTIATE_TEST_SUITE_P(Types, SplitFactors, testing::Values(ComputeType::f32, ComputeType::bf16),
                         [](const auto& type) {
                           return type.param == ComputeType::bf16 ? "Bf16" : "F32";
                         });

}  // namespace
}  // namespace qwodel
