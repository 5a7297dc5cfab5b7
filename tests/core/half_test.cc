// Every 16-bit and 8-bit float against its definition, and the rounding of floats between any two.
#include "core/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace qwodel {
namespace {

std::uint32_t bits(float value) { return std::bit_cast<std::uint32_t>(value); }

// Value of a float format with `exponent_bits` and `mantissa_bits` from its definition; infinities
// and NaNs are not among its arguments.
double defined_value(unsigned code, int exponent_bits, int mantissa_bits) {
  const auto mantissa = static_cast<double>(code & ((1u << mantissa_bits) - 1u));
  const auto exponent = static_cast<int>(code >> mantissa_bits & ((1u << exponent_bits) - 1u));
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double scale = std::ldexp(1.0, -mantissa_bits);
  const double magnitude = exponent == 0 ? std::ldexp(mantissa * scale, 1 - bias)
                                         : std::ldexp(1.0 + mantissa * scale, exponent - bias);
  return (code >> (exponent_bits + mantissa_bits) & 1u) != 0 ? -magnitude : magnitude;
}

TEST(Half, EveryValueIsWhatTheFormatDefines) {
  for (unsigned code = 0; code < 0x10000u; ++code) {
    const float value = half_to_float(static_cast<std::uint16_t>(code));
    const unsigned magnitude = code & 0x7FFFu;
    ASSERT_EQ(std::signbit(value), code >= 0x8000u) << code;
    if (magnitude > 0x7C00u) {
      ASSERT_TRUE(std::isnan(value)) << code;
    } else if (magnitude == 0x7C00u) {
      ASSERT_TRUE(std::isinf(value)) << code;
    } else {
      ASSERT_EQ(static_cast<double>(value), defined_value(code, 5, 10)) << code;
    }
  }
}

TEST(Half, EveryValueSurvivesTheRoundTrip) {
  for (unsigned code = 0; code < 0x10000u; ++code) {
    const std::uint16_t back = float_to_half(half_to_float(static_cast<std::uint16_t>(code)));
    if ((code & 0x7FFFu) > 0x7C00u) {
      ASSERT_GT(back & 0x7FFFu, 0x7C00u) << code;
      ASSERT_EQ(back & 0x8000u, code & 0x8000u) << code;
    } else {
      ASSERT_EQ(back, code);
    }
  }
}

// Rounding is monotonous, so it is settled by what happens at and beside each midpoint.
TEST(Half, RoundsToNearestEvenBetweenAnyTwoNeighbours) {
  for (unsigned low = 0; low < 0x7BFFu; ++low) {
    const float below = half_to_float(static_cast<std::uint16_t>(low));
    const float above = half_to_float(static_cast<std::uint16_t>(low + 1));
    const float middle = (below + above) / 2;  // exact
    const unsigned even = low % 2 == 0 ? low : low + 1;
    ASSERT_EQ(float_to_half(middle), even);
    ASSERT_EQ(float_to_half(-middle), even | 0x8000u);
    ASSERT_EQ(float_to_half(std::nextafter(middle, 0.0f)), low);
    ASSERT_EQ(float_to_half(std::nextafter(middle, 1e9f)), low + 1);
  }
  EXPECT_EQ(float_to_half(std::nextafter(65520.0f, 0.0f)), 0x7BFF);
  EXPECT_EQ(float_to_half(65520.0f), 0x7C00);
  EXPECT_EQ(float_to_half(-65520.0f), 0xFC00);
  EXPECT_EQ(float_to_half(std::numeric_limits<float>::infinity()), 0x7C00);
}

TEST(Bfloat16, EveryValueIsTheUpperHalfOfAFloat) {
  for (unsigned code = 0; code < 0x10000u; ++code) {
    const float value = bfloat16_to_float(static_cast<std::uint16_t>(code));
    ASSERT_EQ(bits(value), code << 16);
    if ((code & 0x7F80u) != 0x7F80u) {
      ASSERT_EQ(static_cast<double>(value), defined_value(code, 8, 7)) << code;
    }
    const std::uint16_t back = float_to_bfloat16(value);
    if ((code & 0x7FFFu) > 0x7F80u) {
      ASSERT_EQ(back, code | 0x40u) << code;  // NaNs become quiet
    } else {
      ASSERT_EQ(back, code);
    }
  }
}

TEST(Bfloat16, RoundsToNearestEvenBetweenAnyTwoNeighbours) {
  for (unsigned low = 0; low < 0x7F80u; ++low) {  // up to between the largest and infinity
    const auto middle = std::bit_cast<float>(low << 16 | 0x8000u);
    const unsigned even = low % 2 == 0 ? low : low + 1;
    ASSERT_EQ(float_to_bfloat16(middle), even);
    ASSERT_EQ(float_to_bfloat16(-middle), even | 0x8000u);
    ASSERT_EQ(float_to_bfloat16(std::bit_cast<float>(bits(middle) - 1u)), low);
    ASSERT_EQ(float_to_bfloat16(std::bit_cast<float>(bits(middle) + 1u)), low + 1);
  }
}

TEST(Bfloat16, ANanWhosePayloadIsBelowTheCutStaysNan) {
  EXPECT_TRUE(std::isnan(bfloat16_to_float(float_to_bfloat16(std::bit_cast<float>(0x7F800001u)))));
  EXPECT_TRUE(std::isnan(bfloat16_to_float(float_to_bfloat16(std::bit_cast<float>(0xFFFFFFFFu)))));
}

// OCP 8-bit floating point specification 1.0, table 1.
TEST(Float8, EveryE4m3ValueIsWhatTheFormatDefines) {
  for (unsigned code = 0; code < 256; ++code) {
    const float value = float8_e4m3_to_float(static_cast<std::uint8_t>(code));
    ASSERT_EQ(std::signbit(value), code >= 0x80u) << code;
    if ((code & 0x7Fu) == 0x7Fu) {
      ASSERT_TRUE(std::isnan(value)) << code;
    } else {
      ASSERT_EQ(static_cast<double>(value), defined_value(code, 4, 3)) << code;
    }
  }
  EXPECT_EQ(float8_e4m3_to_float(0x7E), 448.0f);
  EXPECT_EQ(float8_e4m3_to_float(0x01), std::ldexp(1.0f, -9));
}

TEST(Float8, EveryE5m2ValueIsWhatTheFormatDefines) {
  for (unsigned code = 0; code < 256; ++code) {
    const float value = float8_e5m2_to_float(static_cast<std::uint8_t>(code));
    ASSERT_EQ(std::signbit(value), code >= 0x80u) << code;
    const unsigned magnitude = code & 0x7Fu;
    if (magnitude > 0x7Cu) {
      ASSERT_TRUE(std::isnan(value)) << code;
    } else if (magnitude == 0x7Cu) {
      ASSERT_TRUE(std::isinf(value)) << code;
    } else {
      ASSERT_EQ(static_cast<double>(value), defined_value(code, 5, 2)) << code;
    }
  }
  EXPECT_EQ(float8_e5m2_to_float(0x7B), 57344.0f);
}

}  // namespace
}  // namespace qwodel
