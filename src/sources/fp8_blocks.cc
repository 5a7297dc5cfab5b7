// Checkpoints in 8-bit floats (quant_method "fp8" and "fbgemm_fp8"):
//
//   NAME              F8_E4M3 or F8_E5M2 [rows, cols]
//   NAME_scale_inv    one scale per block of weight_block_size (DeepSeek, 128 x 128)
//   NAME_scale        one scale per row or for the tensor
//   BASE.qscale_weight  the same under Mistral's name, for BASE.weight
//
// All are multiplied; scales of activations are not needed here.
#include <fmt/format.h>

#include "io/json.h"
#include "qwodel/error.h"
#include "sources/parts.h"
#include "sources/scaled.h"

namespace qwodel {
namespace {

ScaleBlock block_size(const Json& quantization) {
  const Json* size = find_member(quantization, "weight_block_size");
  if (size == nullptr || size->is_null()) return {};
  const auto positive = [](const Json& value) {
    return value.is_number_unsigned() && value.get<std::uint64_t>() > 0;
  };
  if (!size->is_array() || size->size() != 2 || !positive((*size)[0]) || !positive((*size)[1])) {
    throw ValidationError({.where = "quantization_config",
                           .found = "weight_block_size " + size->dump(),
                           .expected = "[rows, columns]",
                           .remedy = ""});
  }
  return {(*size)[0].get<std::uint64_t>(), (*size)[1].get<std::uint64_t>()};
}

struct Suffix {
  std::string_view scale;   // of the scale's name
  std::string_view weight;  // what the weight's name has in its place
  bool blocks;              // weight_block_size applies
};

constexpr Suffix kSuffixes[] = {
    {"_scale_inv", "", true},
    {".weight_scale", ".weight", false},
    {".qscale_weight", ".weight", true},
};

constexpr std::string_view kActivations[] = {
    ".activation_scale", "_activation_scale", ".input_scale", ".input_scale_ub",
    ".qscale_act",       ".k_scale",          ".v_scale"};

}  // namespace

void collect_fp8(const Json& quantization, Parts& parts) {
  const ScaleBlock block = block_size(quantization);
  for (const std::string_view suffix : kActivations) parts.drop(suffix);
  for (const Suffix& suffix : kSuffixes) {
    for (const std::string& base : parts.bases_of(suffix.scale)) {
      ScaledParts found;
      found.scale = &parts.require(base, suffix.scale);
      found.weight = &parts.require(base, suffix.weight);
      expect_part(*found.weight, found.weight->shape, {TensorType::f8_e4m3, TensorType::f8_e5m2});
      parts.replace(*found.weight, make_scaled_tensor(found, suffix.blocks ? block : ScaleBlock{}));
    }
  }
}

}  // namespace qwodel
