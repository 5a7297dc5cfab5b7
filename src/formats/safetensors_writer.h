// Lays out a safetensors file: every offset is known before the first byte of data.
//
// Format: safetensors README ("Format"): u64 header size, JSON header, data without gaps. The
// header is padded with spaces so that data starts at a multiple of 8, as the reference writer
// does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor_type.h"

namespace qwodel {

struct SafetensorsEntry {
  std::string name;
  TensorType type = TensorType::f32;
  std::vector<std::uint64_t> shape;  // outermost first
};

struct SafetensorsLayout {
  std::string header;                  // size field, JSON and padding
  std::vector<std::uint64_t> offsets;  // of each entry's bytes in the file
  std::uint64_t file_size = 0;
};

// Tensors lie in the order given; __metadata__ is {"format": "pt"}, which transformers asks for.
// Throws ValidationError when a size overflows or the type has no safetensors name.
SafetensorsLayout lay_out_safetensors(const std::vector<SafetensorsEntry>& entries);

// Bytes of an entry's data.
std::uint64_t byte_size(const SafetensorsEntry& entry);

}  // namespace qwodel
