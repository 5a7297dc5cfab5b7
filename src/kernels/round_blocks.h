// Blocks of 32 values without a search: the scale follows from the extremes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace qwodel {

// Per block: half scale = max |x| / 127, then 32 signed bytes round(x / scale), halves away from
// zero. `out` holds 34 bytes per block (Q8_0).
void round_to_bytes(const float* values, std::size_t blocks, std::byte* out);

// The inverse: scale * byte.
void bytes_to_floats(const std::byte* in, std::size_t blocks, float* values);

// Parameters and packed codes of 32 values.
struct SmallBlock {
  std::uint16_t scale;       // half
  std::uint16_t minimum;     // half; 0 where the encoding has none
  std::uint32_t fifth_bits;  // bit i: the fifth bit of code i
  std::array<std::uint8_t, 16>
      nibbles;  // byte i: the lower four bits of code i, then of code i + 16
};

// x ~ scale * (code - levels), scale = (value of the largest magnitude) / -levels. Q4_0: 8,
// Q5_0: 16.
void round_symmetric(const float* values, std::size_t blocks, int levels, SmallBlock* out);

// x ~ scale * code + minimum, scale = (max - min) / levels. Q4_1: 15, Q5_1: 31.
void round_affine(const float* values, std::size_t blocks, int levels, SmallBlock* out);

}  // namespace qwodel
