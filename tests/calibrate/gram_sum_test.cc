// The Gram matrix is X^T X, whatever the size, and the same for any number of threads.
#include "calibrate/gram_sum.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "calibrate/statistics.h"
#include "core/half.h"

namespace qwodel {
namespace {

std::vector<float> random_rows(std::size_t count) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> values(count);
  for (float& x : values) x = normal(random);
  return values;
}

std::vector<float> gram_of(ConstMatrixView rows, ComputeType compute, int threads) {
  GramSum sum(rows.cols, compute);
  const TaskThreads tasks(threads);
  sum.add(rows, tasks);
  std::vector<float> packed(triangle(rows.cols));
  sum.store(packed);
  return packed;
}

TEST(GramSum, IsTheProductOfTheRowsWithThemselves) {
  // More than one run of rows, rows that are padded, tiles cut off at the edge.
  constexpr std::size_t kRows = GramSum::kRows + 333;
  constexpr std::size_t kCols = 300;
  const std::vector<float> values = random_rows(kRows * 310);
  const ConstMatrixView rows(values.data(), kRows, kCols, 310);
  for (const ComputeType compute : {ComputeType::f32, ComputeType::bf16}) {
    const std::vector<float> packed = gram_of(rows, compute, 1);
    EXPECT_EQ(packed, gram_of(rows, compute, 2));
    for (std::size_t i = 0; i < kCols; i += 7) {
      for (std::size_t j = 0; j <= i; j += (i == 294 ? 1 : 13)) {
        double expected = 0;
        for (std::size_t r = 0; r < kRows; ++r) {
          const auto rounded = [&](float x) {
            return static_cast<double>(
                compute == ComputeType::bf16 ? bfloat16_to_float(float_to_bfloat16(x)) : x);
          };
          expected += rounded(rows.row(r)[i]) * rounded(rows.row(r)[j]);
        }
        // Off the diagonal the terms' root of summed squares is about sqrt(rows).
        ASSERT_NEAR(packed[triangle(i) + j], expected, 2e-6 * std::abs(expected) + 1e-3)
            << i << " " << j;
      }
    }
  }
}

}  // namespace
}  // namespace qwodel
