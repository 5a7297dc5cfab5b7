// Blocks that hold values as they are, read back by the codecs' decoders.
#include "codecs/exact_block.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <random>
#include <vector>

#include "codecs/codec.h"
#include "core/half.h"

namespace qwodel {
namespace {

constexpr std::size_t kBlock = 32;

struct Range {
  TensorType type;
  int lowest, highest;
};

class ExactBlocks : public testing::TestWithParam<Range> {
 protected:
  // The values that the block decodes to; none when there is no block.
  std::vector<float> through(const std::vector<float>& values) {
    std::vector<std::byte> block(info(GetParam().type).block_bytes + 1, std::byte{0xa5});
    fit_ = encode_exactly(GetParam().type, values, block.data());
    EXPECT_EQ(block.back(), std::byte{0xa5});
    if (fit_ != ExactFit::exact) return {};
    std::vector<float> decoded(kBlock);
    find_codec(GetParam().type)->decode(block.data(), kBlock, decoded.data());
    return decoded;
  }

  // Codes of a range times a scale, the ends of the range among them.
  std::vector<float> multiples(int lowest, int highest, float scale) {
    std::uniform_int_distribution<int> code(lowest, highest);
    std::vector<float> values;
    for (std::size_t i = 0; i < kBlock; ++i) {
      values.push_back(static_cast<float>(code(generator_)) * scale);
    }
    values[3] = static_cast<float>(lowest) * scale;
    values[30] = static_cast<float>(highest) * scale;
    return values;
  }

  float random_half() {
    std::uniform_real_distribution<float> exponent(-9.0f, 2.0f);
    return half_to_float(float_to_half(std::exp2(exponent(generator_))));
  }

  std::mt19937 generator_{11};
  ExactFit fit_ = ExactFit::exact;
};

TEST_P(ExactBlocks, HoldSymmetricCodes) {
  const Range& range = GetParam();
  const int top = range.lowest < 0 ? range.highest : range.highest / 2;
  for (int round = 0; round < 200; ++round) {
    // Affine types count from the lowest value: it has to be a half itself.
    const float scale =
        range.lowest < 0 ? random_half() : std::exp2(static_cast<float>(round % 9) - 8);
    for (const float sign : {1.0f, -1.0f}) {
      const auto values = multiples(-top - (range.lowest < 0 ? 1 : 0), top, sign * scale);
      EXPECT_EQ(through(values), values) << scale;
    }
  }
}

TEST_P(ExactBlocks, HoldFewAndEqualValues) {
  const float scale = half_to_float(float_to_half(0.0123f));
  const std::vector<float> zeros(kBlock);
  EXPECT_EQ(through(zeros), zeros);
  const std::vector<float> ones(kBlock, scale);
  EXPECT_EQ(through(ones), ones);
  const std::vector<float> negative(kBlock, -3 * scale);
  EXPECT_EQ(through(negative), negative);
  std::vector<float> even;
  for (std::size_t i = 0; i < kBlock; ++i) even.push_back(2 * scale * static_cast<float>(i % 4));
  EXPECT_EQ(through(even), even);
  std::vector<float> one(kBlock);
  one[17] = -5 * scale;
  EXPECT_EQ(through(one), one);
  // The smallest half.
  std::vector<float> tiny;
  for (std::size_t i = 0; i < kBlock; ++i) tiny.push_back(0x1p-24f * static_cast<float>(i % 8));
  EXPECT_EQ(through(tiny), tiny);
}

TEST_P(ExactBlocks, SayWhyNot) {
  const Range& range = GetParam();
  const int levels = range.highest - range.lowest;
  const float half = half_to_float(float_to_half(0.0123f));
  EXPECT_TRUE(through(multiples(0, levels, half * (1 + 0x1p-13f))).empty());
  EXPECT_EQ(fit_, ExactFit::scale);
  EXPECT_TRUE(through(multiples(-levels - 1, 0, half)).empty());
  EXPECT_EQ(fit_, ExactFit::values);
  EXPECT_TRUE(through(multiples(0, 1, 1e-9f)).empty());
  EXPECT_EQ(fit_, ExactFit::scale);
  std::vector<float> random;
  std::normal_distribution<float> normal;
  for (std::size_t i = 0; i < kBlock; ++i) random.push_back(normal(generator_));
  EXPECT_TRUE(through(random).empty());
  EXPECT_EQ(fit_, ExactFit::values);
  if (range.lowest < 0) {
    // All levels, beginning at 0: a symmetric type has not that many above it.
    EXPECT_TRUE(through(multiples(0, levels, half)).empty());
    EXPECT_EQ(fit_, ExactFit::zero_point);
  } else {
    // 5 and 7 times a scale of eleven bits need more than these.
    const float full = 1.0f + 1023 * 0x1p-10f;
    EXPECT_TRUE(through(multiples(-5, levels - 5, full)).empty());
    EXPECT_EQ(fit_, ExactFit::zero_point);
  }
}

TEST_P(ExactBlocks, HoldZeroPointsThatAreHalves) {
  if (GetParam().lowest < 0) return;
  for (int zero = 0; zero <= GetParam().highest; ++zero) {
    const auto values = multiples(-zero, GetParam().highest - zero, 0x1p-6f);
    EXPECT_EQ(through(values), values) << zero;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Types, ExactBlocks,
    testing::Values(Range{TensorType::q4_0, -8, 7}, Range{TensorType::q5_0, -16, 15},
                    Range{TensorType::q4_1, 0, 15}, Range{TensorType::q5_1, 0, 31}),
    [](const auto& suite) { return std::string(qwodel::info(suite.param.type).name); });

TEST(ExactBlockTypes, AreFour) {
  std::size_t types = 0;
  for (const Codec* codec : codecs()) types += has_exact_blocks(codec->type) ? 1 : 0;
  EXPECT_EQ(types, 4u);
  EXPECT_TRUE(has_exact_blocks(TensorType::q4_0));
  EXPECT_FALSE(has_exact_blocks(TensorType::q6_k));
  EXPECT_FALSE(has_exact_blocks(TensorType::iq4_nl));
}

}  // namespace
}  // namespace qwodel
