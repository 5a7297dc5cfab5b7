// Super-blocks of 256 values whose sub-blocks have a scale and a minimum each, both quantized:
// x ~ (scale * scales[s]) * code - minimum * mins[s]. The encodings Q2_K, Q4_K and Q5_K.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/block_group.h"

namespace qwodel {

inline constexpr std::size_t kSuperBlock = 256;

struct AffineRecipe {
  std::size_t sub_block;  // values that share scale and minimum: 16 or 32
  int levels;             // the highest code of a value
  int scale_levels;       // the highest code of a scale or minimum
  // Without importance: weights |x| (and absolute errors), or |x| plus the sub-block's root mean
  // square.
  bool absolute;
  float first_trial, trial_step;
  int trial_steps;
  // With importance: weight = importance * sqrt(spread * mean square of the super-block + x^2).
  float spread;
  bool clamps_searched_scales;  // else a searched code above scale_levels spills into its neighbour
};

struct AffineBlock {
  std::uint16_t scale;    // half
  std::uint16_t minimum;  // half
  std::array<std::uint8_t, 16> scales;
  std::array<std::uint8_t, 16> mins;
  std::array<std::uint8_t, kSuperBlock> codes;
};

// Parameters and codes, as llama.cpp chooses them, of super-blocks first, first + 1, ...: as many
// as the current target handles at once, at most kMaxLanes. Returns how many were written to `out`.
std::size_t fit_affine_blocks(const AffineRecipe& recipe, const BlockRows& rows, std::size_t first,
                              AffineBlock* out);

}  // namespace qwodel
