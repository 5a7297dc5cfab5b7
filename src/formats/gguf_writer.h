// The bytes of a GGUF file before its tensor data, and where each tensor's data goes.
//
// Layout: GGUF specification v3. All offsets are known before any data exists, because sizes follow
// from types and shapes; the data can then be written in any order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/tensor_type.h"
#include "formats/gguf_value.h"

namespace qwodel {

struct GgufTensor {
  std::string name;
  TensorType type = TensorType::f32;
  std::vector<std::uint64_t> shape;  // outermost first; written in GGUF's order, innermost first
};

struct GgufLayout {
  std::vector<std::byte> header;       // everything before the data, padded to the alignment
  std::vector<std::uint64_t> offsets;  // of each tensor's data from the start of the file
  std::vector<std::uint64_t> bytes;    // of each tensor, without padding
  std::uint64_t file_size = 0;         // with the padding after the last tensor
};

// Throws ValidationError when a name is too long (63 bytes), is used twice, or a row is not whole
// blocks of its type, and FormatNotSupportedError for a type GGUF has no id for.
GgufLayout layout_gguf(const GgufMetadata& metadata, std::span<const GgufTensor> tensors);

}  // namespace qwodel
