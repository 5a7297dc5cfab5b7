// Super-blocks of 256 values in sixteen sub-blocks with a signed quantized scale each:
// x ~ (scale * scales[s]) * (code - levels). The encodings Q3_K and Q6_K.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/block_group.h"

namespace qwodel {

// How Q3_K and Q6_K differ where no parameter tells it.
enum class SymmetricKind : std::uint8_t { q3_k, q6_k };

struct SymmetricRecipe {
  SymmetricKind kind;
  int levels;        // codes are 0 ... 2 * levels - 1, standing for -levels ... levels - 1
  int scale_levels;  // scales are -scale_levels ... scale_levels - 1
};

struct SymmetricBlock {
  std::uint16_t scale;  // half
  std::array<std::int8_t, 16> scales;
  std::array<std::uint8_t, 256> codes;
};

// Parameters and codes, as llama.cpp chooses them, of super-blocks first, first + 1, ...: as many
// as the current target handles at once, at most kMaxLanes. Returns how many were written to `out`.
std::size_t fit_symmetric_blocks(const SymmetricRecipe& recipe, const BlockRows& rows,
                                 std::size_t first, SymmetricBlock* out);

}  // namespace qwodel
