// Blocks of 4-bit codes into a fixed table of sixteen values: IQ4_NL (blocks of 32 with a half
// scale) and IQ4_XS (super-blocks of 256 in which each 32 values have a 6-bit scale).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/block_group.h"

namespace qwodel {

// The table of IQ4_NL and IQ4_XS, from kvalues_iq4nl of llama.cpp (MIT, "The ggml authors").
inline constexpr std::array<std::int8_t, 16> kCodebook = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                          1,    13,   25,  38,  53,  69,  89,  113};

struct CodebookBlock {
  std::uint16_t scale;                // half
  std::array<std::int8_t, 8> scales;  // -32 ... 31; unused with one sub-block
  std::array<std::uint8_t, 256> codes;
};

// Parameters and codes, as llama.cpp chooses them, of blocks first, first + 1, ...: as many as the
// current target handles at once, at most kMaxLanes. rows.block_size is 32 or 256. Returns how many
// were written to `out`.
std::size_t fit_codebook_blocks(const BlockRows& rows, std::size_t first, CodebookBlock* out);

}  // namespace qwodel
