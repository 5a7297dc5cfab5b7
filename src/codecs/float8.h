// Rounding to OCP 8-bit floats E4M3 (the "fn" variant of core/half.h).
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "core/half.h"

namespace qwodel {

inline constexpr float kFloat8Max = 448.0f;

// To nearest, ties to even; beyond 448 to 448. REQUIRES: value is no NaN.
constexpr std::uint8_t float_to_float8_e4m3(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 24) & 0x80u;
  const float magnitude = std::min(std::bit_cast<float>(bits & 0x7FFFFFFFu), kFloat8Max);
  if (magnitude < 0x1p-6f) {
    // Subnormal: the addition aligns the last bit with 2^-9, and rounds.
    const float aligned = magnitude + 0x1p14f;
    return static_cast<std::uint8_t>(sign | (std::bit_cast<std::uint32_t>(aligned) & 0xFu));
  }
  const auto exact = std::bit_cast<std::uint32_t>(magnitude);
  const std::uint32_t rounded = exact + 0x7FFFFu + ((exact >> 20) & 1u);
  return static_cast<std::uint8_t>(sign | ((rounded >> 20) - (120u << 3)));
}
static_assert(float_to_float8_e4m3(448.0f) == 0x7E && float_to_float8_e4m3(-1e9f) == 0xFE &&
              float_to_float8_e4m3(0x1p-9f) == 0x01 && float_to_float8_e4m3(0x1p-6f) == 0x08 &&
              float_to_float8_e4m3(1.0f) == 0x38);

}  // namespace qwodel
