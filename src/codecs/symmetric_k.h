// What Q3_K and Q6_K share: the way from rows to blocks, and the fit / snap / pack view.
#pragma once

#include <cstddef>
#include <memory>

#include "codecs/codec.h"
#include "kernels/symmetric_blocks.h"

namespace qwodel {

struct SymmetricLayout {
  SymmetricRecipe recipe;
  std::size_t block_bytes;
  void (*pack)(const SymmetricBlock& block, std::byte* out);
};

void encode_symmetric(const SymmetricLayout& layout, const float* values, std::size_t rows,
                      std::size_t cols, const float* importance, std::byte* out);

// `layout` must outlive the grid.
std::unique_ptr<BlockGrid> make_symmetric_grid(const SymmetricLayout& layout);

}  // namespace qwodel
