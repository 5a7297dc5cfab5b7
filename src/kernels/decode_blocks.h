// Packed codes back to values.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qwodel {

// Blocks of 32 values: half scale, half minimum if there is one, a word of fifth bits if there is
// one, then 16 bytes of nibbles. x = (code - offset) * scale + minimum.
struct SmallFormat {
  bool has_minimum;
  bool has_fifth_bits;
  int offset;
};
void decode_small_blocks(const SmallFormat& format, const std::byte* in, std::size_t blocks,
                         float* values);

// 256 values in eight sub-blocks of 32, x = scale * code - minimum. low: 64 values in 32 bytes,
// byte i holds the nibbles of values i and i + 32. high is null, or bit s of byte i is the fifth
// bit of value i of sub-block s.
void decode_nibble_super_block(const std::uint8_t* low, const std::uint8_t* high,
                               const float* scales, const float* minimums, float* values);

// Sub-blocks of 32 values, 16 bytes of codes each, x = scale * table[code].
void decode_table_codes(const std::uint8_t* codes, const float* scales, std::size_t sub_blocks,
                        const std::int8_t* table, float* values);

}  // namespace qwodel
