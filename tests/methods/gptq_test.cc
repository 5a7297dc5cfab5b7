#include "methods/gptq.h"

#include <gtest/gtest.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <cmath>

#include "qwodel/error.h"
#include "tests/methods/gptq_problem.h"

namespace qwodel {
namespace {

GroupIntMatrix fitted(const GptqProblem& problem, const GroupIntScheme& scheme,
                      std::span<const float> importance = {}) {
  GroupIntMatrix matrix(scheme, problem.rows, problem.cols);
  fit_rows(problem.weight_view(), importance, search_of(scheme, true), 0, matrix);
  return matrix;
}

// Gauss-Jordan in double precision.
std::vector<double> inverse(std::vector<double> a, std::size_t d) {
  std::vector<double> b(d * d, 0.0);
  for (std::size_t i = 0; i < d; ++i) b[i * d + i] = 1;
  for (std::size_t i = 0; i < d; ++i) {
    const double pivot = a[i * d + i];
    for (std::size_t j = 0; j < d; ++j) {
      a[i * d + j] /= pivot;
      b[i * d + j] /= pivot;
    }
    for (std::size_t k = 0; k < d; ++k) {
      if (k == i) continue;
      const double factor = a[k * d + i];
      for (std::size_t j = 0; j < d; ++j) {
        a[k * d + j] -= factor * a[i * d + j];
        b[k * d + j] -= factor * b[i * d + j];
      }
    }
  }
  return b;
}

// Optimal brain surgeon, one weight after the other, as the GPTQ paper derives it (equations 2 and
// 3): the inverse of the Hessian of the columns that are left is updated after every column.
std::vector<std::uint8_t> surgeon(const GptqProblem& problem, const HessianFactor& factor,
                                  const GroupIntMatrix& parameters) {
  const std::size_t d = problem.cols;
  double trace = 0;
  for (std::size_t i = 0; i < d; ++i) trace += static_cast<double>(problem.gram[i * d + i]);
  std::vector<double> h(d * d);
  for (std::size_t i = 0; i < d * d; ++i) h[i] = static_cast<double>(problem.gram[i]);
  for (std::size_t i = 0; i < d; ++i) {
    h[i * d + i] += factor.damp_percent * trace / static_cast<double>(d);
  }
  std::vector<std::uint8_t> codes(problem.rows * d);
  const std::vector<double> of_all = inverse(h, d);
  for (std::size_t r = 0; r < problem.rows; ++r) {
    std::vector<double> inv = of_all;
    std::vector<double> w(problem.weights.begin() + static_cast<std::ptrdiff_t>(r * d),
                          problem.weights.begin() + static_cast<std::ptrdiff_t>((r + 1) * d));
    for (const std::uint32_t i : factor.order) {
      const std::size_t group = i / parameters.scheme.group_size;
      const double scale = static_cast<double>(parameters.scales[r * parameters.groups() + group]);
      const double zero = parameters.zeros[r * parameters.groups() + group];
      const double top = (1u << parameters.scheme.bits) - 1;
      const double code = std::clamp(std::nearbyint(w[i] / scale) + zero, 0.0, top);
      codes[r * d + i] = static_cast<std::uint8_t>(code);
      const double error = (w[i] - (code - zero) * scale) / inv[i * d + i];
      for (std::size_t j = 0; j < d; ++j) w[j] -= error * inv[i * d + j];
      const std::vector<double> row(inv.begin() + static_cast<std::ptrdiff_t>(i * d),
                                    inv.begin() + static_cast<std::ptrdiff_t>((i + 1) * d));
      const double pivot = row[i];
      for (std::size_t a = 0; a < d; ++a) {
        for (std::size_t b = 0; b < d; ++b) inv[a * d + b] -= row[a] * row[b] / pivot;
      }
      for (std::size_t b = 0; b < d; ++b) inv[i * d + b] = inv[b * d + i] = b == i ? 1.0 : 0.0;
    }
  }
  return codes;
}

TEST(Hessian, TheFactorIsThatOfTheInverse) {
  const GptqProblem problem = make_gptq_problem(4, 48, 200, 1);
  const HessianFactor factor = factorize_hessian(problem.gram_view(), {}, "x");
  ASSERT_EQ(factor.damp_percent, 0.01);
  double trace = 0;
  for (std::size_t i = 0; i < 48; ++i) trace += static_cast<double>(problem.gram[i * 49]);
  // U^T U H = 1, in the factor's order.
  for (std::size_t i = 0; i < 48; ++i) {
    for (std::size_t j = 0; j < 48; ++j) {
      double sum = 0;
      for (std::size_t k = 0; k < 48; ++k) {
        double hessian = static_cast<double>(problem.gram[factor.order[k] * 48 + factor.order[j]]);
        if (k == j) hessian += 0.01 * trace / 48;
        double inv = 0;
        for (std::size_t m = 0; m <= std::min(i, k); ++m) {
          inv += static_cast<double>(factor.upper[m * 48 + i]) *
                 static_cast<double>(factor.upper[m * 48 + k]);
        }
        sum += inv * hessian;
      }
      EXPECT_NEAR(sum, i == j ? 1.0 : 0.0, 2e-4) << i << " " << j;
    }
  }
  for (std::size_t i = 1; i < 48; ++i) {
    EXPECT_GE(factor.importance[factor.order[i - 1]], factor.importance[factor.order[i]]);
  }
}

TEST(Hessian, DampingGrowsUntilAFactorExists) {
  // Not positive semidefinite: an off-diagonal larger than the diagonal allows.
  std::vector<float> gram(16, 0.0f);
  for (std::size_t i = 0; i < 4; ++i) gram[i * 5] = 1.0f;
  gram[1] = gram[4] = 1.05f;
  const HessianFactor factor = factorize_hessian({gram.data(), 4, 4}, {}, "x");
  EXPECT_GT(factor.damp_percent, 0.05);
  gram[1] = gram[4] = 50.0f;
  EXPECT_THROW(factorize_hessian({gram.data(), 4, 4}, {}, "x"), QuantizationError);
  gram[0] = NAN;
  EXPECT_THROW(factorize_hessian({gram.data(), 4, 4}, {}, "x"), QuantizationError);
}

class GptqSchemes : public testing::TestWithParam<std::tuple<unsigned, bool, ColumnOrder>> {};

TEST_P(GptqSchemes, EqualsOptimalBrainSurgeon) {
  const auto [bits, symmetric, order] = GetParam();
  const GptqProblem problem = make_gptq_problem(37, 160, 400, 2);
  const GroupIntScheme scheme{.bits = bits, .group_size = 32, .symmetric = symmetric};
  const HessianFactor factor = factorize_hessian(problem.gram_view(), {.order = order}, "x");
  GroupIntMatrix matrix = fitted(problem, scheme, factor.importance);
  std::vector<float> weights = problem.weights;
  gptq({weights.data(), 37, 160}, factor, matrix);
  const auto expected = surgeon(problem, factor, matrix);
  std::size_t different = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (matrix.codes[i] != expected[i]) ++different;
  }
  // Single against double precision turns a tie now and then, and what follows it in the row.
  EXPECT_LE(different, expected.size() / 200);
  std::vector<float> decoded(160);
  matrix.decode(36, decoded);
  EXPECT_TRUE(std::equal(decoded.begin(), decoded.end(), weights.begin() + 36 * 160));
}

TEST_P(GptqSchemes, LowersTheErrorOfOutputs) {
  const auto [bits, symmetric, order] = GetParam();
  const GptqProblem problem = make_gptq_problem(64, 256, 600, 3);
  const GroupIntScheme scheme{.bits = bits, .group_size = 64, .symmetric = symmetric};
  const HessianFactor factor = factorize_hessian(problem.gram_view(), {.order = order}, "x");
  GroupIntMatrix matrix = fitted(problem, scheme, factor.importance);
  round_rows(problem.weight_view(), 0, matrix);
  const double rounded = output_error(problem.weight_view(), matrix, problem.gram_view());
  std::vector<float> weights = problem.weights;
  gptq({weights.data(), 64, 256}, factor, matrix);
  const double fed_back = output_error(problem.weight_view(), matrix, problem.gram_view());
  EXPECT_LT(fed_back, 0.75 * rounded);
  EXPECT_GT(fed_back, 0.02 * rounded);
}

INSTANTIATE_TEST_SUITE_P(Widths, GptqSchemes,
                         testing::Combine(testing::Values(2u, 3u, 4u, 8u), testing::Bool(),
                                          testing::Values(ColumnOrder::natural,
                                                          ColumnOrder::activation)));

TEST(Gptq, UncorrelatedInputsGiveRounding) {
  GptqProblem problem = make_gptq_problem(16, 64, 1, 4);
  std::ranges::fill(problem.gram, 0.0f);
  for (std::size_t i = 0; i < 64; ++i) problem.gram[i * 65] = 1.0f + static_cast<float>(i);
  const GroupIntScheme scheme{.bits = 4, .group_size = 32, .symmetric = true};
  const HessianFactor factor = factorize_hessian(problem.gram_view(), {}, "x");
  GroupIntMatrix matrix = fitted(problem, scheme);
  GroupIntMatrix rounded = matrix;
  round_rows(problem.weight_view(), 0, rounded);
  std::vector<float> weights = problem.weights;
  gptq({weights.data(), 16, 64}, factor, matrix);
  EXPECT_EQ(matrix.codes, rounded.codes);
}

TEST(Gptq, DeadColumnsBecomeZero) {
  GptqProblem problem = make_gptq_problem(16, 64, 300, 5);
  for (std::size_t i = 0; i < 64; ++i) problem.gram[i * 64 + 9] = problem.gram[9 * 64 + i] = 0.0f;
  const GroupIntScheme scheme{.bits = 4, .group_size = 32, .symmetric = false};
  const HessianFactor factor = factorize_hessian(problem.gram_view(), {}, "x");
  EXPECT_TRUE(factor.dead[9]);
  GroupIntMatrix matrix = fitted(problem, scheme, factor.importance);
  std::vector<float> weights = problem.weights;
  gptq({weights.data(), 16, 64}, factor, matrix);
  for (std::size_t r = 0; r < 16; ++r) EXPECT_EQ(weights[r * 64 + 9], 0.0f);
}

TEST(Gptq, CodesDoNotDependOnThreads) {
  const GptqProblem problem = make_gptq_problem(300, 256, 400, 6);
  const GroupIntScheme scheme{.bits = 4, .group_size = 128, .symmetric = true};
  const HessianFactor factor = factorize_hessian(problem.gram_view(), {}, "x");
  std::vector<std::vector<std::uint8_t>> found;
  for (const int threads : {1, 3}) {
    GroupIntMatrix matrix = fitted(problem, scheme, factor.importance);
    std::vector<float> weights = problem.weights;
    tbb::task_arena arena(threads);
    arena.execute([&] { gptq({weights.data(), 300, 256}, factor, matrix); });
    found.push_back(matrix.codes);
  }
  EXPECT_EQ(found[0], found[1]);
}

}  // namespace
}  // namespace qwodel
