#include "methods/clip.h"

#include <gtest/gtest.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace qwodel {
namespace {

struct Problem {
  std::size_t rows, cols;
  GroupIntScheme scheme;
  std::vector<float> weights, gram;

  ConstMatrixView view() const { return {weights.data(), rows, cols}; }
  ConstMatrixView moments() const { return {gram.data(), cols, cols}; }
};

// Weights with a few far from the others, and inputs that go together.
Problem make_problem(std::size_t rows, std::size_t cols, const GroupIntScheme& scheme) {
  std::mt19937 generator(11);
  std::normal_distribution<float> normal;
  Problem problem{rows, cols, scheme, std::vector<float>(rows * cols), {}};
  for (float& weight : problem.weights) {
    weight = normal(generator);
    weight *= 0.02f * (std::abs(weight) > 2 ? 2.0f : 1.0f);
  }
  const std::size_t samples = 3 * cols;
  std::vector<float> inputs(samples * cols);
  for (std::size_t s = 0; s < samples; ++s) {
    const float common = normal(generator);
    for (std::size_t c = 0; c < cols; ++c) inputs[s * cols + c] = common + normal(generator);
  }
  problem.gram.assign(cols * cols, 0.0f);
  for (std::size_t s = 0; s < samples; ++s) {
    for (std::size_t i = 0; i < cols; ++i) {
      for (std::size_t j = 0; j < cols; ++j) {
        problem.gram[i * cols + j] += inputs[s * cols + i] * inputs[s * cols + j];
      }
    }
  }
  return problem;
}

GroupIntMatrix in_range(const Problem& problem) {
  GroupIntMatrix matrix(problem.scheme, problem.rows, problem.cols);
  fit_rows(problem.view(), {}, search_of(problem.scheme, false), 0, matrix);
  round_rows(problem.view(), 0, matrix);
  return matrix;
}

// e G e^T of one group.
double error_of(const Problem& problem, const GroupIntMatrix& matrix, std::size_t row,
                std::size_t group) {
  std::vector<float> values(problem.cols);
  matrix.decode(row, values);
  const std::size_t size = matrix.scheme.group_size;
  double total = 0;
  for (std::size_t i = group * size; i < (group + 1) * size; ++i) {
    for (std::size_t j = group * size; j < (group + 1) * size; ++j) {
      total += static_cast<double>(values[i] - problem.view().row(row)[i]) *
               static_cast<double>(problem.gram[i * problem.cols + j]) *
               static_cast<double>(values[j] - problem.view().row(row)[j]);
    }
  }
  return total;
}

struct ClipCase {
  bool symmetric;
  ComputeType compute;
};

class Clip : public testing::TestWithParam<ClipCase> {
 protected:
  void search(ClipSteps steps, GroupIntMatrix& out) const {
    const GroupMoments moments(problem.moments(), 32, {}, GetParam().compute);
    search_clipping(problem.view(), moments, steps, out);
  }

  // How far errors that are compared may be off: differences are rounded to bf16 once.
  double slack() const { return GetParam().compute == ComputeType::bf16 ? 1e-2 : 1e-4; }

  Problem problem =
      make_problem(140, 96, {.bits = 3, .group_size = 32, .symmetric = GetParam().symmetric});
};

TEST_P(Clip, EveryGroupIsAtLeastAsGoodAndTheWholeIsBetter) {
  const GroupIntMatrix before = in_range(problem);
  GroupIntMatrix shrunk = before, refined = before;
  search(ClipSteps::shrink, shrunk);
  search(ClipSteps::refine, refined);
  double first = 0, second = 0, third = 0;
  for (std::size_t row = 0; row < problem.rows; ++row) {
    for (std::size_t group = 0; group < before.groups(); ++group) {
      const double a = error_of(problem, before, row, group);
      const double b = error_of(problem, shrunk, row, group);
      const double c = error_of(problem, refined, row, group);
      EXPECT_LE(b, a * (1 + slack()));
      EXPECT_LE(c, b * (1 + slack()));
      first += a;
      second += b;
      third += c;
    }
  }
  EXPECT_LT(second, 0.9 * first);
  // Of a symmetric range only the width moves.
  EXPECT_LT(third, (problem.scheme.symmetric ? 0.98 : 0.95) * second);
  EXPECT_GT(third, 0.2 * first);
}

// The best of all scales in small steps with all zero points is what no search can beat by much.
TEST_P(Clip, RefinedRangesComeCloseToTheBestOfAll) {
  problem = make_problem(6, 32, problem.scheme);
  GroupIntMatrix found = in_range(problem);
  search(ClipSteps::refine, found);
  double total = 0, least = 0;
  for (std::size_t row = 0; row < problem.rows; ++row) {
    total += error_of(problem, found, row, 0);
    GroupIntMatrix trial = found;
    double best = std::numeric_limits<double>::infinity();
    for (float factor = 0.3f; factor < 2.5f; factor += 0.01f) {
      for (unsigned zero = 0; zero < 8; ++zero) {
        if (problem.scheme.symmetric && zero != 4) continue;
        trial.scales[row] = found.scales[row] * factor;
        trial.zeros[row] = static_cast<std::uint8_t>(zero);
        round_rows(problem.view(), 0, trial);
        best = std::min(best, error_of(problem, trial, row, 0));
      }
    }
    least += best;
  }
  EXPECT_GT(total, 0.99 * least);
  EXPECT_LT(total, 1.25 * least);
}

TEST_P(Clip, OnlyTheBlocksOfGroupsAreReadAndThreadsDoNotMatter) {
  GroupIntMatrix expected = in_range(problem);
  GroupIntMatrix found = expected;
  tbb::task_arena(1).execute([&] { search(ClipSteps::refine, expected); });
  for (std::size_t i = 0; i < problem.cols; ++i) {
    for (std::size_t j = 0; j < problem.cols; ++j) {
      if (i / 32 != j / 32) {
        problem.gram[i * problem.cols + j] = std::numeric_limits<float>::quiet_NaN();
      }
    }
  }
  tbb::task_arena(3).execute([&] { search(ClipSteps::refine, found); });
  EXPECT_EQ(found.scales, expected.scales);
  EXPECT_EQ(found.zeros, expected.zeros);
  EXPECT_EQ(found.codes, expected.codes);
}

TEST_P(Clip, AGroupOfZerosStaysZero) {
  std::fill_n(problem.weights.begin(), 32, 0.0f);
  GroupIntMatrix found = in_range(problem);
  search(ClipSteps::refine, found);
  std::vector<float> row(problem.cols);
  found.decode(0, row);
  for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(row[i], 0.0f);
  EXPECT_TRUE(std::ranges::all_of(found.scales, [](float scale) { return std::isfinite(scale); }));
}

INSTANTIATE_TEST_SUITE_P(Schemes, Clip,
                         testing::Values(ClipCase{false, ComputeType::f32},
                                         ClipCase{true, ComputeType::f32},
                                         ClipCase{false, ComputeType::bf16},
                                         ClipCase{true, ComputeType::bf16}),
                         [](const auto& test) {
                           const ClipCase& c = test.param;
                           return std::string(c.symmetric ? "Symmetric" : "Asymmetric") +
                                  (c.compute == ComputeType::bf16 ? "InBf16" : "InF32");
                         });

}  // namespace
}  // namespace qwodel
