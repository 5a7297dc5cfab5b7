#include "graph/matmul.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <type_traits>
#include <vector>

#include "kernels/convert.h"

namespace qwodel {
namespace {

constexpr std::size_t kPanel = PackedMatrix::kPanel;

std::vector<float> random_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// Values that bf16 holds, so that products of both types have one reference.
std::vector<float> rounded(std::vector<float> values) {
  std::vector<std::uint16_t> bf16(values.size());
  float_to_bfloat16(values.data(), values.size(), bf16.data());
  bfloat16_to_float(bf16.data(), values.size(), values.data());
  return values;
}

struct Case {
  std::size_t m, n, k;
};

// Largest error relative to sum |a b|.
double packed_error(const Case& size, bool bf16) {
  const std::vector<float> a = rounded(random_values(size.m * size.k, 1));
  const std::vector<float> b = rounded(random_values(size.n * size.k, 2));
  PackedMatrix packed(size.n, size.k, bf16);
  for (std::size_t row = 0; row < size.n; row += kPanel) {
    packed.pack(row, {b.data() + row * size.k, std::min(kPanel, size.n - row), size.k});
  }
  std::vector<std::uint16_t> converted(a.size());
  float_to_bfloat16(a.data(), a.size(), converted.data());
  std::vector<float> out(size.m * size.n, -1.0f);
  // In two parts: the first panel, and what follows.
  for (std::size_t first = 0; first < size.n;) {
    const std::size_t count = first == 0 ? std::min(kPanel, size.n) : size.n - first;
    const MatrixView part = MatrixView(out.data(), size.m, size.n).col_range(first, count);
    if (bf16) {
      multiply_transposed(Matrix<const std::uint16_t>(converted.data(), size.m, size.k), packed,
                          first, part);
    } else {
      multiply_transposed(Matrix<const float>(a.data(), size.m, size.k), packed, first, part);
    }
    first += count;
  }
  double worst = 0;
  for (std::size_t i = 0; i < size.m; ++i) {
    for (std::size_t j = 0; j < size.n; ++j) {
      double sum = 0;
      double magnitude = 0;
      for (std::size_t l = 0; l < size.k; ++l) {
        const double product = double{a[i * size.k + l]} * double{b[j * size.k + l]};
        sum += product;
        magnitude += std::abs(product);
      }
      worst = std::max(worst, std::abs(double{out[i * size.n + j]} - sum) / magnitude);
    }
  }
  return worst;
}

TEST(PackedMatrix, ProductsOfAnySizeEqualThoseInDoublePrecision) {
  for (const std::size_t n : {1u, 16u, 17u, 48u, 63u, 64u, 65u, 100u, 128u, 144u, 200u, 320u}) {
    for (const std::size_t k : {1u, 2u, 15u, 33u, 64u, 97u}) {
      for (const std::size_t m : {1u, 5u, 32u}) {
        EXPECT_LT(packed_error({m, n, k}, false), 1e-6) << m << " " << n << " " << k;
        EXPECT_LT(packed_error({m, n, k}, true), 1e-6) << m << " " << n << " " << k << " bf16";
      }
    }
  }
}

TEST(PackedMatrix, AProductOfNoDepthIsZero) {
  const PackedMatrix packed(3, 0, false);
  std::vector<float> out(6, 1.0f);
  multiply_transposed(Matrix<const float>(nullptr, 2, 0), packed, 0, {out.data(), 2, 3});
  EXPECT_EQ(out, std::vector<float>(6, 0.0f));
}

// Products of more shapes than are kept in memory at once.
TEST(PackedMatrix, ShapesWithoutEndStayRight) {
  for (std::size_t m = 1; m <= 600; ++m) {
    std::vector<float> a(m, 2.0f);
    const float b = 3.0f;
    std::vector<float> out(m);
    multiply_transposed(Matrix<const float>(a.data(), m, 1), Matrix<const float>(&b, 1, 1),
                        {out.data(), m, 1});
    ASSERT_EQ(out, std::vector<float>(m, 6.0f)) << m;
  }
}

// Both factors are columns of wider matrices, and so is the result.
TEST(MultiplyColumns, IsTheProductOfTheTransposedLeft) {
  constexpr std::size_t kDepth = 70, kLeft = 37, kRight = 50, kWidth = 90, kOutWidth = 64;
  const auto values = rounded(random_values(kDepth * kWidth, 5));
  std::vector<std::uint16_t> bf16(values.size());
  float_to_bfloat16(values.data(), values.size(), bf16.data());
  const auto check = [&](const auto& data) {
    using T = typename std::remove_cvref_t<decltype(data)>::value_type;
    const Matrix<const T> left(data.data() + 3, kDepth, kLeft, kWidth);
    const Matrix<const T> right(data.data() + 40, kDepth, kRight, kWidth);
    std::vector<float> out(kLeft * kOutWidth, -7.0f);
    const MatrixView view(out.data(), kLeft, kRight, kOutWidth);
    multiply_columns(left, right, view);
    multiply_columns(left, right, view, Output::add);
    for (std::size_t i = 0; i < kLeft; ++i) {
      for (std::size_t j = 0; j < kRight; ++j) {
        double sum = 0;
        for (std::size_t k = 0; k < kDepth; ++k) {
          sum += double{values[k * kWidth + 3 + i]} * double{values[k * kWidth + 40 + j]};
        }
        ASSERT_NEAR(double{view.row(i)[j]}, 2 * sum, 2e-5);
      }
    }
    EXPECT_EQ(out[kRight], -7.0f) << "beyond the columns";
  };
  check(values);
  check(bf16);
}

}  // namespace
}  // namespace qwodel
