// Weights of the tests of Core ML's compression, the same as those of
// tools/golden/make_coreml_goldens.py. What each set is for stands there.
#pragma once

#include <cmath>
#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/half.h"
#include "core/matrix.h"
#include "tests/codecs/codec_inputs.h"

namespace qwodel {

struct HalfWeights {
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::vector<std::uint16_t> halves;

  Matrix<const std::uint16_t> view() const { return {halves.data(), rows, cols}; }
  std::vector<float> floats() const {
    std::vector<float> values;
    for (const std::uint16_t half : halves) values.push_back(half_to_float(half));
    return values;
  }
};

namespace coreml_inputs {

inline constexpr std::size_t kRows = 64;
inline constexpr std::size_t kCols = 256;

// All numbers have fewer than 24 significant bits: float is exact.
inline std::vector<float> bell_weights(std::uint64_t seed) {
  SplitMix rng(seed);
  std::vector<float> values;
  for (std::size_t i = 0; i < kRows * kCols; ++i) {
    values.push_back(static_cast<float>(std::ldexp(rng.bell(), -21)));
  }
  return values;
}

inline std::vector<float> odd_weights() {
  std::vector<float> values = bell_weights(2);
  const auto at = [&](std::size_t row, std::size_t col) -> float& {
    return values[row * kCols + col];
  };
  for (std::size_t i = 0; i < kCols; ++i) {
    at(0, i) = 0;
    at(1, i) = std::abs(at(1, i));
    at(2, i) = -std::abs(at(2, i));
    at(4, i) = std::ldexp(at(4, i), -18);
    at(5, i) = std::ldexp(at(5, i), -22);
    at(6, i) = std::ldexp(at(6, i), 12);
    if (i >= 32 && i < 64) at(7, i) = 0;
    if (i >= 1) at(8, i) = 0;
  }
  at(3, 7) = 3;
  return values;
}

inline HalfWeights rounded(const std::vector<float>& values) {
  HalfWeights weights{kRows, kCols, {}};
  for (const float value : values) weights.halves.push_back(float_to_half(value));
  return weights;
}

inline HalfWeights smollm2() {
  HalfWeights weights{32, 576, std::vector<std::uint16_t>(32 * 576)};
  std::ifstream in(std::string(QWODEL_SOURCE_DIR) + "/tests/golden/smollm2_rows.f16",
                   std::ios::binary);
  in.read(reinterpret_cast<char*>(weights.halves.data()), 2 * 32 * 576);
  if (!in) throw std::runtime_error("smollm2_rows.f16 cannot be read");
  return weights;
}

inline HalfWeights weights(const std::string& name) {
  if (name == "bell") return rounded(bell_weights(1));
  if (name == "odd") return rounded(odd_weights());
  if (name == "smollm2") return smollm2();
  throw std::runtime_error("unknown input " + name);
}

}  // namespace coreml_inputs
}  // namespace qwodel
