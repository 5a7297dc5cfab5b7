// Arrays of half and bfloat16 to float and back; rounding as in core/half.h, on every target.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qwodel {

void half_to_float(const std::uint16_t* in, std::size_t count, float* out);
void float_to_half(const float* in, std::size_t count, std::uint16_t* out);
void bfloat16_to_float(const std::uint16_t* in, std::size_t count, float* out);
void float_to_bfloat16(const float* in, std::size_t count, std::uint16_t* out);

// Position of the first NaN or infinity, or `count`.
std::size_t find_non_finite(const float* values, std::size_t count);

// How many finite values become infinite as half (magnitude 65520 or more).
std::size_t count_half_overflow(const float* values, std::size_t count);

}  // namespace qwodel
