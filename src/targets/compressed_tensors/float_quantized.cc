#include "targets/compressed_tensors/float_quantized.h"

#include <fmt/format.h>

#include <cstring>

#include "core/half.h"
#include "targets/word_packing.h"

namespace qwodel {

std::vector<SafetensorsEntry> float_quantized_entries(std::string_view base,
                                                      const GroupIntScheme& scheme,
                                                      std::uint64_t rows, std::uint64_t cols) {
  require_multiple(base, "in_features", cols, scheme.group_of(cols));
  return {{fmt::format("{}.weight", base), TensorType::f8_e4m3, {rows, cols}},
          {fmt::format("{}.weight_scale", base),
           scheme.scale_format == ScaleFormat::half ? TensorType::f16 : TensorType::bf16,
           {rows, cols / scheme.group_of(cols)}}};
}

void pack_float_quantized(const GroupIntMatrix& matrix, std::span<std::byte> out) {
  std::memcpy(out.data(), matrix.codes.data(), matrix.codes.size());
  const bool half = matrix.scheme.scale_format == ScaleFormat::half;
  std::byte* next = out.data() + matrix.codes.size();
  for (const float scale : matrix.scales) {
    const std::uint16_t stored = half ? float_to_half(scale) : float_to_bfloat16(scale);
    std::memcpy(next, &stored, sizeof stored);
    next += sizeof stored;
  }
}

}  // namespace qwodel
