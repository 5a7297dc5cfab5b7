// Loops over groups of weights that share a scale and a zero point (AWQ, GPTQ, pack-quantized):
//
//   weight = (code - zero) * scale,  0 <= code <= 2^bits - 1
//
// One group per lane, so every instruction set gives the same parameters.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/half.h"
#include "kernels/block_group.h"

namespace qwodel {

// What a scale is rounded to before any code is chosen.
enum class ScaleFormat : std::uint8_t { half, bfloat16 };

// A scale as it will be stored. 0 and what is too small to store become the smallest that is not;
// what is too large the largest.
inline float stored_scale(float scale, ScaleFormat format) {
  if (format == ScaleFormat::half) {
    const float stored = half_to_float(float_to_half(std::clamp(scale, -65504.0f, 65504.0f)));
    return stored != 0.0f ? stored : 0x1p-24f;
  }
  const float stored = bfloat16_to_float(float_to_bfloat16(scale));
  return stored != 0.0f ? stored : 0x1p-126f;
}

struct GroupSearch {
  unsigned bits = 4;
  bool symmetric = false;     // zero = 2^(bits - 1)
  bool signed_scale = false;  // symmetric only: the scale may be negative, which turns the longer
                              // side of the codes (-2^(bits-1)) to where the larger weight is
  bool search = true;  // lowest weighted squared error; else the range as it is, as GPTQ's and
                       // AutoAWQ's quantizers take it
  ScaleFormat format = ScaleFormat::half;
};

// Scales and zero points of blocks [first, first + count): min/max of the group and 0 without
// search. Importance weighs squared errors. REQUIRES: block_size is a multiple of 4; values are
// finite.
void fit_groups(const BlockRows& rows, std::size_t first, std::size_t count,
                const GroupSearch& options, float* scales, std::uint8_t* zeros);

// code = clamp(round_half_even(value / scale) + zero) of the same blocks, [count, block_size].
void round_groups(const BlockRows& rows, std::size_t first, std::size_t count, unsigned bits,
                  const float* scales, const std::uint8_t* zeros, std::uint8_t* codes);

// What decodes from those codes less the values, (code - zero) * scale - value, [count,
// block_size].
void group_errors(const BlockRows& rows, std::size_t first, std::size_t count, unsigned bits,
                  const float* scales, const std::uint8_t* zeros, float* errors);

}  // namespace qwodel
