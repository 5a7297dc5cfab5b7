// Values that are multiples of a scale already, in a block type that can hold them as they are: how
// the codes of a quantized checkpoint go into a GGUF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/tensor_type.h"

namespace qwodel {

// Whether encode_exactly() takes a type: blocks of 32 with one scale in half precision (Q4_0, Q4_1,
// Q5_0, Q5_1).
bool has_exact_blocks(TensorType type);

enum class ExactFit : std::uint8_t {
  exact,
  zero_point,  // multiples of a half, but too far from 0, or from a half to count from
  scale,       // multiples of something that is no half
  values,      // more levels than the type has, or no multiples of anything
};

// Writes the block that decodes to `values` [32] bit by bit (0 and -0 are the same). When there is
// none, says why and leaves `block` alone. Of several blocks that do, the one with the largest
// scale. REQUIRES: has_exact_blocks(type), values are finite.
ExactFit encode_exactly(TensorType type, std::span<const float> values, std::byte* block);

}  // namespace qwodel
