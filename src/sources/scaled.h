// Weights stored as 8-bit floats or integers with a scale per block of the matrix:
//
//   weight[r, c] = (stored[r, c] - zero[r / height, c / width]) * scale[r / height, c / width]
//
// A block is a tile of 128 x 128 (DeepSeek), a row (per channel), a part of a row (per group) or
// the whole matrix (per tensor).
#pragma once

#include <cstdint>
#include <memory>

#include "sources/weights.h"

namespace qwodel {

struct ScaledParts {
  const TensorInfo* weight = nullptr;
  const TensorInfo* scale = nullptr;
  const TensorInfo* zero = nullptr;  // of the scale's shape, or null
};

// A block of `height` x `width` values; 0 means as the shapes say: one scale per row, or for all.
struct ScaleBlock {
  std::uint64_t height = 0;
  std::uint64_t width = 0;
};

// The logical tensor has the weight's name and shape: [..., rows, cols]; the scale has one value
// per block, in the same leading dimensions. Throws ValidationError when the shapes do not fit.
std::unique_ptr<WeightTensor> make_scaled_tensor(const ScaledParts& parts, ScaleBlock block);

}  // namespace qwodel
