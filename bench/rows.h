// Rows that benchmarks run on: weights as trained models have them, and importance of a wide range.
#pragma once

#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

namespace qwodel {

inline constexpr std::size_t kBenchCols = 4096;

inline std::vector<float> bench_values(std::size_t rows) {
  std::mt19937 generator(1);
  std::normal_distribution<float> weight(0.0f, 0.02f);
  std::vector<float> values(rows * kBenchCols);
  for (float& value : values) value = weight(generator);
  return values;
}

inline std::vector<float> bench_importance() {
  std::mt19937 generator(2);
  std::normal_distribution<float> exponent(0.0f, 1.0f);
  std::vector<float> importance(kBenchCols);
  for (float& value : importance) value = std::exp(exponent(generator));
  return importance;
}

}  // namespace qwodel
