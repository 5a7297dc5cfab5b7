// Values rounded to few levels around zero and packed a few to the byte, and back.
//
// A level is 0, 1 or 2 for a value nearest to -1, 0 or +1 after multiplication by `inverse`; a
// value halfway goes away from zero. "By plane" means that byte m holds the values m, m + width, m
// + 2 * width, ...: neighbours lie in neighbouring bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qwodel {

// Largest magnitude of `count` finite values; count is a multiple of 16.
float max_magnitude(const float* values, std::size_t count);

// out[m], m < width: the levels of the 4 planes, first plane in the lowest 2 bits. width is 16
// or 32.
void pack_bit_pair_planes(const float* values, float inverse, std::size_t width, std::uint8_t* out);

// values[n * width + m] = (bit pair n of in[m] - 1) * scale, n < 4.
void unpack_bit_pair_planes(const std::uint8_t* in, float scale, std::size_t width, float* values);

// out[m], m < width: the levels of `planes` planes as a number in base 3 with 5 digits, first plane
// first, the missing last digits 0; stored as ceil(number * 256 / 243), so that multiplying the
// byte by 3 moves the next digit out at the top. width is 4, 16 or 32.
void pack_trit_planes(const float* values, float inverse, std::size_t planes, std::size_t width,
                      std::uint8_t* out);

// values[n * width + m] = (digit n of in[m] - 1) * scale, n < planes.
void unpack_trit_planes(const std::uint8_t* in, float scale, std::size_t planes, std::size_t width,
                        float* values);

// out[j]: the levels of values 4j .. 4j+3, the first in the lowest 2 bits. count is a multiple
// of 64.
void pack_bit_pairs(const float* values, float inverse, std::size_t count, std::uint8_t* out);

// values[i] = (bit pair i of `in` - 1) * scale.
void unpack_bit_pairs(const std::uint8_t* in, float scale, std::size_t count, float* values);

// Bit i of `out` is set for values[i] >= 0 (both zeros included). count is a multiple of 32.
void pack_signs(const float* values, std::size_t count, std::uint8_t* out);

// values[i] = scale where bit i of `in` is set, else -scale.
void unpack_signs(const std::uint8_t* in, float scale, std::size_t count, float* values);

}  // namespace qwodel
