// What Q4_0, Q4_1, Q5_0 and Q5_1 share: the way from rows to blocks of 32, and the fit / snap /
// pack view, whose fit takes the block for the whole row.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "codecs/codec.h"
#include "codecs/scalar_layout.h"
#include "kernels/round_blocks.h"

namespace qwodel {

struct SmallLayout {
  // Symmetric: x = scale * (code - levels). Affine: x = scale * code + minimum, code <= levels.
  bool affine;
  int levels;
  std::size_t block_bytes;
  void (*pack)(std::span<const SmallBlock> blocks, std::byte* out);
};

void encode_small(const SmallLayout& layout, const float* values, std::size_t rows,
                  std::size_t cols, const float* importance, std::byte* out);

SmallBlock small_block(const SmallLayout& layout, const ScalarBlock& block);

template <const SmallLayout& layout>
inline constexpr ScalarLayout kSmallScalars = {
    .recipe = {.block = 32,
               .group = 32,
               .lowest = layout.affine ? 0 : -layout.levels,
               .highest = layout.affine ? layout.levels : layout.levels - 1,
               .lowest_scale = 1,
               .highest_scale = 1,
               .highest_minimum = layout.affine ? 1 : 0},
    .block_bytes = layout.block_bytes,
    .pack = [](const ScalarBlock& block, std::byte* out) {
      const SmallBlock small = small_block(layout, block);
      layout.pack({&small, 1}, out);
    }};

// `layout` must outlive the grid.
std::unique_ptr<BlockGrid> make_small_grid(const SmallLayout& layout);

}  // namespace qwodel
