// What Q3_K and Q6_K share: the way from rows to blocks, and the fit / snap / pack view.
#pragma once

#include <cstddef>
#include <memory>

#include "codecs/codec.h"
#include "codecs/scalar_layout.h"
#include "kernels/symmetric_blocks.h"

namespace qwodel {

struct SymmetricLayout {
  SymmetricRecipe recipe;
  std::size_t block_bytes;
  void (*pack)(const SymmetricBlock& block, std::byte* out);
};

void encode_symmetric(const SymmetricLayout& layout, const float* values, std::size_t rows,
                      std::size_t cols, const float* importance, std::byte* out);

template <const SymmetricLayout& layout>
inline constexpr ScalarLayout kSymmetricScalars = {
    .recipe = {.block = 256,
               .group = 16,
               .lowest = -layout.recipe.levels,
               .highest = layout.recipe.levels - 1,
               .lowest_scale = -layout.recipe.scale_levels,
               .highest_scale = layout.recipe.scale_levels - 1,
               .highest_minimum = 0},
    .block_bytes = layout.block_bytes,
    .pack = [](const ScalarBlock& block, std::byte* out) {
      layout.pack({block.scale, block.scale_codes, block.codes}, out);
    }};

// `layout` must outlive the grid.
std::unique_ptr<BlockGrid> make_symmetric_grid(const SymmetricLayout& layout);

}  // namespace qwodel
