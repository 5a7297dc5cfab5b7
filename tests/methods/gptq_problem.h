// A linear and the second moments of its inputs, for tests of GPTQ's family.
#pragma once

#include <random>
#include <vector>

#include "core/matrix.h"

namespace qwodel {

struct GptqProblem {
  std::size_t rows, cols;
  std::vector<float> weights, gram;

  ConstMatrixView weight_view() const { return {weights.data(), rows, cols}; }
  ConstMatrixView gram_view() const { return {gram.data(), cols, cols}; }
};

// Adds the lower triangle of x^T x. With pointers, because sanitized tests are not optimized.
inline void add_products(const std::vector<float>& x, std::vector<float>& gram) {
  const float* const values = x.data();
  for (std::size_t i = 0; i < x.size(); ++i) {
    float* const row = gram.data() + i * x.size();
    const float value = values[i];
    for (std::size_t j = 0; j <= i; ++j) row[j] += value * values[j];
  }
}

// Inputs that are correlated over neighbouring columns and differ in size by column.
inline GptqProblem make_gptq_problem(std::size_t rows, std::size_t cols, std::size_t tokens,
                                     unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  GptqProblem problem{rows, cols, std::vector<float>(rows * cols), std::vector<float>(cols * cols)};
  for (float& weight : problem.weights) weight = 0.02f * normal(generator);
  std::vector<float> x(cols);
  for (std::size_t t = 0; t < tokens; ++t) {
    float common = 0;
    for (std::size_t c = 0; c < cols; ++c) {
      common = 0.8f * common + 0.6f * normal(generator);
      x[c] = common * (c % 7 == 3 ? 5.0f : 1.0f);
    }
    add_products(x, problem.gram);
  }
  for (std::size_t i = 0; i < cols; ++i) {
    for (std::size_t j = 0; j < i; ++j) problem.gram[j * cols + i] = problem.gram[i * cols + j];
  }
  return problem;
}

}  // namespace qwodel
