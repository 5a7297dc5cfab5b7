// What Q2_K, Q4_K and Q5_K share: the way from rows to blocks, and the fit / snap / pack view.
#pragma once

#include <cstddef>
#include <memory>

#include "codecs/codec.h"
#include "codecs/scalar_layout.h"
#include "kernels/affine_blocks.h"

namespace qwodel {

struct AffineLayout {
  AffineRecipe recipe;
  std::size_t block_bytes;
  void (*pack)(const AffineBlock& block, std::byte* out);
};

void encode_affine(const AffineLayout& layout, const float* values, std::size_t rows,
                   std::size_t cols, const float* importance, std::byte* out);

AffineBlock affine_block(const ScalarBlock& block);

template <const AffineLayout& layout>
inline constexpr ScalarLayout kAffineScalars = {
    .recipe = {.block = kSuperBlock,
               .group = layout.recipe.sub_block,
               .lowest = 0,
               .highest = layout.recipe.levels,
               .lowest_scale = 0,
               .highest_scale = layout.recipe.scale_levels,
               .highest_minimum = layout.recipe.scale_levels},
    .block_bytes = layout.block_bytes,
    .pack = [](const ScalarBlock& block, std::byte* out) {
      layout.pack(affine_block(block), out);
    }};

// `layout` must outlive the grid.
std::unique_ptr<BlockGrid> make_affine_grid(const AffineLayout& layout);

// The twelve bytes in which Q4_K and Q5_K keep eight 6-bit scales and eight 6-bit minimums:
//   byte j     (j < 4): scale j,   and in its two upper bits the upper bits of scale j + 4
//   byte 4 + j (j < 4): minimum j, and in its two upper bits the upper bits of minimum j + 4
//   byte 8 + j (j < 4): lower four bits of scale j + 4, then those of minimum j + 4
void pack_six_bit_scales(const AffineBlock& block, std::uint8_t* out);

// The same eight scales and minimums times their own scales, which are halves.
void unpack_six_bit_scales(const std::uint8_t* in, std::uint16_t d, std::uint16_t dmin,
                           float* scales, float* mins);

}  // namespace qwodel
