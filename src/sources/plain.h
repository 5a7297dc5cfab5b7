// Tensors stored as plain numbers.
#pragma once

#include <memory>

#include "sources/weights.h"

namespace qwodel {

// Decodes `count` stored numbers; `in` may have any alignment.
using DecodeNumbers = void (*)(const std::byte* in, std::size_t count, float* out);

// The decoder of a type whose blocks hold one value; null for block types.
DecodeNumbers number_decoder(TensorType type);

// Decodes a whole small tensor (scales, zero points).
std::vector<float> read_numbers(const TensorInfo& tensor);

std::unique_ptr<WeightTensor> make_plain_tensor(const TensorInfo& tensor);

}  // namespace qwodel
