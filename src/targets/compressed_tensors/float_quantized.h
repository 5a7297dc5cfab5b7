// compressed-tensors, format float-quantized: 8-bit floats with a scale per row, for activations of
// 16 bits.
//
//   BASE.weight        F8_E4M3 [out, in]
//   BASE.weight_scale  F16 or BF16 [out, 1]
//
// Source: compressed-tensors, compressors/naive_quantized.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "codecs/group_int.h"
#include "formats/safetensors_writer.h"

namespace qwodel {

// As LinearFormat's, for schemes of 8-bit floats.
std::vector<SafetensorsEntry> float_quantized_entries(std::string_view base,
                                                      const GroupIntScheme& scheme,
                                                      std::uint64_t rows, std::uint64_t cols);
void pack_float_quantized(const GroupIntMatrix& matrix, std::span<std::byte> out);

}  // namespace qwodel
