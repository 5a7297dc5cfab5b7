#include "models/quantization_traits.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>
#include <variant>

namespace qwodel {
namespace {

// Counts of layer 0: the key holds one number for all layers or an array with one per layer.
std::uint64_t of_first_layer(const GgufMetadata& metadata, const std::string& key,
                             std::uint64_t otherwise) {
  if (const auto number = metadata.find_unsigned(key)) return *number;
  const GgufValue* value = metadata.find(key);
  const auto* array = value == nullptr ? nullptr : std::get_if<GgufArray>(value);
  if (array == nullptr) return otherwise;
  return std::visit(
      [&](const auto& values) -> std::uint64_t {
        if constexpr (!std::is_same_v<std::decay_t<decltype(values)>, std::monostate>) {
          if (values.empty()) return otherwise;
          if constexpr (std::is_integral_v<std::decay_t<decltype(values[0])>>) {
            return values[0] < 0 ? otherwise : static_cast<std::uint64_t>(values[0]);
          }
        }
        return otherwise;
      },
      *array);
}

std::uint32_t bounded(std::uint64_t value) {
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(value, std::numeric_limits<std::int32_t>::max()));
}

// Architectures of which llama.cpp calls an 80-layer model "70B" (llama-model.cpp, hparams).
constexpr std::array<std::string_view, 4> kSeventyBillion = {"llama", "qwen2", "deci", "olmo"};
constexpr std::uint64_t kSeventyBillionLayers = 80;

}  // namespace

QuantizationTraits quantization_traits(const GgufMetadata& metadata,
                                       std::span<const std::string> tensor_names) {
  const std::string architecture = metadata.find_string("general.architecture").value_or("");
  const auto key = [&](std::string_view name) { return architecture + "." + std::string(name); };
  const std::uint64_t heads = of_first_layer(metadata, key("attention.head_count"), 0);
  const std::uint64_t kv_heads = of_first_layer(metadata, key("attention.head_count_kv"), heads);
  QuantizationTraits traits;
  traits.layers = bounded(metadata.find_unsigned(key("block_count")).value_or(0));
  traits.grouped_queries = kv_heads == 0 ? 0 : bounded(heads / kv_heads);
  traits.experts = bounded(metadata.find_unsigned(key("expert_count")).value_or(0));
  traits.plain_ffn_down = architecture == "falcon";
  // For llama the size class also requires grouped queries; the others are tables by layer count.
  traits.shared_value_heads = traits.layers == kSeventyBillionLayers &&
                              std::find(kSeventyBillion.begin(), kSeventyBillion.end(),
                                        architecture) != kSeventyBillion.end() &&
                              (architecture != "llama" || heads != kv_heads);
  traits.tied_embeddings =
      std::find(tensor_names.begin(), tensor_names.end(), "output.weight") == tensor_names.end();
  return traits;
}

}  // namespace qwodel
