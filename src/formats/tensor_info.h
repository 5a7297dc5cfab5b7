// A tensor as a container describes it: name, type, shape and where its bytes are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/tensor_type.h"

namespace qwodel {

struct TensorInfo {
  std::string name;
  TensorType type = TensorType::f32;
  std::vector<std::uint64_t> shape;  // outermost first (GGUF's own order is the reverse)
  std::span<const std::byte> bytes;  // in a mapped file; row-major, validated to fit the shape
};

// Number of values. The product was checked when the container was read.
inline std::uint64_t element_count(const std::vector<std::uint64_t>& shape) {
  std::uint64_t count = 1;
  for (const std::uint64_t extent : shape) count *= extent;
  return count;
}

// "[32000, 4096]", for messages and listings.
std::string shape_text(const std::vector<std::uint64_t>& shape);

}  // namespace qwodel
