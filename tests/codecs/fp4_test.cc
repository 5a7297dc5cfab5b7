// MXFP4 and NVFP4 against their definitions: the shared exponent, and the nearest code of every
// value.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <vector>

#include "codecs/codec.h"
#include "kernels/dispatch.h"

namespace qwodel {
namespace {

constexpr std::array kE2m1 = {0.0f, 0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                              0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

std::vector<std::uint8_t> encode(TensorType type, const std::vector<float>& values) {
  std::vector<std::uint8_t> bytes(bytes_of(type, values.size()).value());
  find_codec(type)->encode(values.data(), 1, values.size(), nullptr,
                           reinterpret_cast<std::byte*>(bytes.data()));
  return bytes;
}

// The first code at the least distance, distances rounded to single precision.
int nearest_code(float value, float scale) {
  int best = 0;
  for (int code = 1; code < 16; ++code) {
    const auto distance = [&](int c) {
      return std::fabs(kE2m1[static_cast<std::size_t>(c)] * scale - value);
    };
    if (distance(code) < distance(best)) best = code;
  }
  return best;
}

class Fp4OnTarget : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { use_kernel_target(GetParam()); }
  void TearDown() override { use_kernel_target(""); }
};

// floor(log2(largest)) - 2, where the logarithm is rounded to single precision first: below a power
// of two it may round up to the integer.
TEST_P(Fp4OnTarget, Mxfp4ExponentIsThatOfTheRoundedLogarithm) {
  std::vector<float> values;
  std::vector<int> expected;
  for (int k = -124; k <= 127; ++k) {
    for (const int steps : {-1, 0, 1, 2, 3, 5, 6, 11, 12, 22, 23, 44, 45, 88, 89, 500}) {
      const float x = std::ldexp(1.0f - static_cast<float>(steps) * 0x1p-24f, k);
      values.push_back(x);
      values.resize(values.size() + 31);
      const auto logarithm = static_cast<float>(std::log2(static_cast<double>(x)));
      expected.push_back(static_cast<int>(std::floor(logarithm)) - 2 + 127);
    }
  }
  const std::vector<std::uint8_t> bytes = encode(TensorType::mxfp4, values);
  for (std::size_t b = 0; b < expected.size(); ++b) {
    ASSERT_EQ(bytes[17 * b], expected[b] & 255) << values[32 * b];
  }
}

TEST_P(Fp4OnTarget, Mxfp4CodesAreTheNearest) {
  std::mt19937 random(1);
  std::vector<float> values(32 * 200);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const int exponent = static_cast<int>(i / 32 % 40) - 20;
    // Quarters of the scale: many values lie halfway between two codes.
    values[i] = std::ldexp(static_cast<float>(static_cast<int>(random() % 65) - 32), exponent);
  }
  const std::vector<std::uint8_t> bytes = encode(TensorType::mxfp4, values);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint8_t* const block = bytes.data() + i / 32 * 17;
    const float scale = std::ldexp(1.0f, block[0] - 127);
    const int code = block[1 + i % 16] >> (i % 32 < 16 ? 0 : 4) & 15;
    ASSERT_EQ(code, nearest_code(values[i], scale)) << values[i] << " at scale " << scale;
  }
}

// Also far beyond the largest scale, where all distances round to the same number.
TEST_P(Fp4OnTarget, Nvfp4CodesAreTheNearest) {
  std::mt19937 random(2);
  std::normal_distribution<float> gaussian;
  std::vector<float> values(64 * 100);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = std::ldexp(gaussian(random), static_cast<int>(i / 16 % 64) - 20);
  }
  const std::vector<std::uint8_t> bytes = encode(TensorType::nvfp4, values);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint8_t* const block = bytes.data() + i / 64 * 36;
    const unsigned stored = block[i % 64 / 16];
    const float scale = stored < 8 ? std::ldexp(static_cast<float>(stored), -9)
                                   : std::ldexp(8.0f + static_cast<float>(stored % 8),
                                                static_cast<int>(stored / 8) - 10);
    const int code = block[4 + i % 64 / 16 * 8 + i % 8] >> (i % 16 < 8 ? 0 : 4) & 15;
    ASSERT_EQ(code, nearest_code(values[i], scale)) << values[i] << " at scale " << scale;
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, Fp4OnTarget, testing::ValuesIn(kernel_targets()),
                         [](const auto& suite) { return suite.param; });

}  // namespace
}  // namespace qwodel
