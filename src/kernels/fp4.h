// OCP E2M1 ("FP4") codes, two to the byte: encoding by nearest value and decoding.
//
// Codes 0 .. 7 stand for 0, 1, 2, 3, 4, 6, 8, 12 and codes 8 .. 15 for their negatives: twice the
// value the OCP Microscaling specification gives them, so a scale here is half the block's scale.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qwodel {

inline constexpr std::int8_t kE2m1Doubled[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                                 0, -1, -2, -3, -4, -6, -8, -12};

// Groups of values in blocks of bytes: block b holds groups_per_block groups of codes, group_size /
// 2 bytes each, one after the other. Byte j of a group holds value j (low bits) and value j +
// group_size / 2 (high bits). group_size is 16 or 32.
struct E2m1Layout {
  std::size_t group_size;
  std::size_t groups_per_block;
  std::size_t block_bytes;  // from the codes of one block to those of the next
};

// out[g] = largest magnitude of group g, over `groups` groups of group_size finite values.
void group_magnitudes(const float* values, std::size_t groups, std::size_t group_size, float* out);

// Codes of the values nearest to values / scale, scales[group] > 0 with at most 4 significant bits;
// a value halfway goes towards zero, and what rounds to zero gets code 0. An infinite scale gives
// zeros.
void encode_e2m1(const float* values, const float* scales, std::size_t blocks,
                 const E2m1Layout& layout, std::uint8_t* codes);

void decode_e2m1(const std::uint8_t* codes, const float* scales, std::size_t blocks,
                 const E2m1Layout& layout, float* values);

}  // namespace qwodel
