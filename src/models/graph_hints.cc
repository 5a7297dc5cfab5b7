#include "models/graph_hints.h"

#include <cmath>

#include "io/json.h"
#include "models/config.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

// One entry per layer, whatever the list's own length.
std::vector<bool> layer_list(const Json& list, std::uint64_t layers, const Json& chosen) {
  std::vector<bool> flags;
  if (!list.is_array()) return flags;
  for (std::uint64_t i = 0; i < layers; ++i) flags.push_back(i < list.size() && list[i] == chosen);
  return flags;
}

void read_windows(const ModelConfig& config, std::uint64_t layers, GraphHints& hints) {
  // Classes that know the switch use no window without it.
  const bool used = config.flag("use_sliding_window", true);
  if (config.values().contains("sliding_window") || !used) {
    hints.sliding_window = used ? config.find_count({"sliding_window"}).value_or(0) : 0;
  }
  if (const Json* types = config.find({"layer_types"})) {
    hints.sliding_layers = layer_list(*types, layers, "sliding_attention");
  } else if (config.has("use_sliding_window") && used) {
    const std::uint64_t full = config.find_count({"max_window_layers"}).value_or(0);
    for (std::uint64_t i = 0; i < layers; ++i) hints.sliding_layers.push_back(i >= full);
  } else if (const auto period = config.find_count({"sliding_window_pattern"}); period > 0) {
    for (std::uint64_t i = 0; i < layers; ++i) {
      hints.sliding_layers.push_back((i + 1) % *period != 0);
    }
  }
}

void read_rotary_layers(const ModelConfig& config, std::uint64_t layers, GraphHints& hints) {
  if (const Json* rotary = config.find({"no_rope_layers"})) {
    hints.rotary_layers = layer_list(*rotary, layers, 1);
  } else if (const auto period = config.find_count({"no_rope_layer_interval"}); period > 0) {
    for (std::uint64_t i = 0; i < layers; ++i) {
      hints.rotary_layers.push_back((i + 1) % *period != 0);
    }
  }
}

void read_rope(const LoadedConfig& config, GraphHints& hints) {
  const ModelConfig& rope = config.full_rope;
  hints.rope_base = rope.find_number({"rope_theta"});
  const auto type = rope.find_text({"rope_type"}).value_or("");
  if (type == "longrope" || type == "su") {
    hints.pretrained_length = rope.find_count({"original_max_position_embeddings"});
    const auto context = config.values.find_count({"max_position_embeddings"});
    if (!hints.pretrained_length || *hints.pretrained_length < 2 || !context) return;
    const double scale =
        static_cast<double>(*context) / static_cast<double>(*hints.pretrained_length);
    const double length = static_cast<double>(*hints.pretrained_length);
    hints.rope_magnitude = scale > 1 ? std::sqrt(1 + std::log(scale) / std::log(length)) : 1.0;
  }
  // YaRN with separate temperatures for the rotation and for the scores: their quotient rotates.
  const auto mscale = rope.find_number({"mscale"});
  const auto all = rope.find_number({"mscale_all_dim"});
  const double factor = rope.find_number({"factor"}).value_or(1);
  if (type == "yarn" && mscale.value_or(0) != 0 && all.value_or(0) != 0 && factor > 1 &&
      !rope.has("attention_factor")) {
    const auto temperature = [&](double weight) { return 1 + 0.1 * weight * std::log(factor); };
    hints.rope_magnitude = temperature(*mscale) / temperature(*all);
  }
}

// The factor of q k^T where the configuration names it.
std::optional<double> attention_scale(const ModelConfig& config) {
  if (const auto scale = config.find_number({"attention_multiplier"})) return scale;
  if (const auto width = config.find_number({"query_pre_attn_scalar"}); width.value_or(0) > 0) {
    return 1 / std::sqrt(*width);
  }
  const Json* attention = config.find({"attn_config"});
  if (attention == nullptr) return std::nullopt;
  return ModelConfig(*attention).find_number({"softmax_scale"});
}

}  // namespace

GraphHints graph_hints(const LoadedConfig& loaded, std::uint64_t layers) {
  const ModelConfig& config = loaded.values;
  GraphHints hints;
  for (const char* key : {"hidden_activation", "hidden_act", "activation_function", "activation"}) {
    if (hints.activation.empty()) hints.activation = config.find_text({key}).value_or("");
  }
  read_windows(config, layers, hints);
  read_rotary_layers(config, layers, hints);
  read_rope(loaded, hints);
  hints.attention_scale = attention_scale(config);
  if (config.has("norm_topk_prob")) hints.normalize_experts = config.flag("norm_topk_prob", false);
  return hints;
}

}  // namespace qwodel
