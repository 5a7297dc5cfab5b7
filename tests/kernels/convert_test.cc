// Every kernel target converts every 16-bit value, and many floats, exactly as core/half.h does.
#include "kernels/convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "core/half.h"
#include "kernels/dispatch.h"

namespace qwodel {
namespace {

class ConvertOnEveryTarget : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { use_kernel_target(GetParam()); }
  void TearDown() override { use_kernel_target(""); }
};

std::uint32_t bits(float value) { return std::bit_cast<std::uint32_t>(value); }

TEST_P(ConvertOnEveryTarget, RunsOnTheForcedTarget) {
  EXPECT_EQ(current_kernel_target(), GetParam());
}

TEST_P(ConvertOnEveryTarget, All16BitValues) {
  std::vector<std::uint16_t> in(65536);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::uint16_t>(i);
  std::vector<float> out(in.size());
  half_to_float(in.data(), in.size(), out.data());
  for (std::size_t i = 0; i < in.size(); ++i) ASSERT_EQ(bits(out[i]), bits(half_to_float(in[i])));
  bfloat16_to_float(in.data(), in.size(), out.data());
  for (std::size_t i = 0; i < in.size(); ++i) {
    ASSERT_EQ(bits(out[i]), bits(bfloat16_to_float(in[i])));
  }
}

TEST_P(ConvertOnEveryTarget, FloatsOfEveryExponent) {
  std::vector<float> in;
  for (std::uint32_t upper = 0; upper < 0x10000u; ++upper) {
    for (const std::uint32_t lower :
         {0u, 1u, 0x0FFFu, 0x1000u, 0x1001u, 0x7FFFu, 0x8000u, 0xFFFFu}) {
      in.push_back(std::bit_cast<float>(upper << 16 | lower));
    }
  }
  in.pop_back();  // an odd count exercises the tail
  std::vector<std::uint16_t> out(in.size());
  float_to_half(in.data(), in.size(), out.data());
  for (std::size_t i = 0; i < in.size(); ++i) ASSERT_EQ(out[i], float_to_half(in[i])) << in[i];
  float_to_bfloat16(in.data(), in.size(), out.data());
  for (std::size_t i = 0; i < in.size(); ++i) ASSERT_EQ(out[i], float_to_bfloat16(in[i])) << in[i];
}

TEST_P(ConvertOnEveryTarget, FindsTheFirstNonFiniteValue) {
  std::vector<float> values(37, 1.0f);
  EXPECT_EQ(find_non_finite(values.data(), values.size()), values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    values.assign(values.size(), 1.0f);
    values[i] = i % 2 == 0 ? NAN : -INFINITY;
    EXPECT_EQ(find_non_finite(values.data(), values.size()), i);
  }
}

TEST_P(ConvertOnEveryTarget, CountsHalfOverflow) {
  std::vector<float> values(35, 65519.0f);
  EXPECT_EQ(count_half_overflow(values.data(), values.size()), 0u);
  values[3] = -65520.0f;
  values[34] = 1e30f;
  values[5] = INFINITY;
  EXPECT_EQ(count_half_overflow(values.data(), values.size()), 2u);
}

INSTANTIATE_TEST_SUITE_P(Kernels, ConvertOnEveryTarget, testing::ValuesIn(kernel_targets()),
                         [](const auto& suite) { return suite.param; });

}  // namespace
}  // namespace qwodel
