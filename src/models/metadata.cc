#include "models/metadata.h"

#include <array>

#include "io/json.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

struct NamedNumber {
  std::string_view name;
  std::uint64_t value;
};

// llama.cpp: llama_pooling_type, llama_expert_gating_func_type.
constexpr std::array<NamedNumber, 3> kPoolingTypes = {{{"mean", 1}, {"cls", 2}, {"lasttoken", 3}}};
constexpr std::array<NamedNumber, 3> kGatingFunctions = {
    {{"softmax", 1}, {"sigmoid", 2}, {"sqrtsoftplus", 4}}};

// A number or, for models whose layers differ, a list of numbers.
void add_counts(const ModelConfig& config, ModelConfig::Keys keys, std::string_view name,
                MetadataWriter& out) {
  const Json* value = config.find(keys);
  if (value == nullptr) return;
  if (!value->is_array()) return out.u32(name, config.count(keys));
  std::vector<std::int32_t> counts;
  for (const Json& entry : *value) {
    counts.push_back(static_cast<std::int32_t>(
        ModelConfig(Json{{"layer", entry}}).count({"layer"}) & 0x7FFFFFFFu));
  }
  out.array(name, std::move(counts));
}

void add_number(const ModelConfig& config, ModelConfig::Keys keys, std::string_view name,
                MetadataWriter& out) {
  if (const auto value = config.find_number(keys)) out.f32(name, *value);
}

void add_yarn(const ModelConfig& rope, MetadataWriter& out) {
  out.text("rope.scaling.type", "yarn");
  out.f32("rope.scaling.factor", rope.number({"factor"}));
  out.u32("rope.scaling.original_context_length", rope.count({"original_max_position_embeddings"}));
  add_number(rope, {"extrapolation_factor"}, "rope.scaling.yarn_ext_factor", out);
  add_number(rope, {"attention_factor", "attn_factor"}, "rope.scaling.yarn_attn_factor", out);
  add_number(rope, {"beta_fast"}, "rope.scaling.yarn_beta_fast", out);
  add_number(rope, {"beta_slow"}, "rope.scaling.yarn_beta_slow", out);
}

void add_rope(const ModelContext& model, MetadataWriter& out) {
  const ModelConfig& rope = model.config.full_rope;
  const auto type = rope.find_text({"rope_type"});
  if (type == "linear" && rope.has("factor")) {
    out.text("rope.scaling.type", "linear");
    out.f32("rope.scaling.factor", rope.number({"factor"}));
  } else if (type == "yarn" && rope.has("factor")) {
    add_yarn(rope, out);
  } else if (type == "su" || type == "longrope") {
    out.text("rope.scaling.type", "longrope");
  }
  if (const Json* sections = model.config.rope.find({"mrope_section"});
      sections != nullptr && sections->is_array()) {
    std::vector<std::int32_t> values;
    for (const Json& entry : *sections) {
      if (values.size() < 4 && entry.is_number_integer()) values.push_back(entry.get<int>());
    }
    values.resize(4);
    out.array("rope.dimension_sections", std::move(values));
  }
  add_number(rope, {"rope_theta"}, "rope.freq_base", out);
  if (const Json* sliding = model.config.rope.find({"sliding_attention"})) {
    add_number(ModelConfig(*sliding), {"rope_theta"}, "rope.freq_base_swa", out);
  }
}

void add_experts(const ModelConfig& config, MetadataWriter& out) {
  add_counts(config, {"num_local_experts", "num_experts", "n_routed_experts"}, "expert_count", out);
  add_counts(config, {"num_experts_per_tok", "num_experts_per_token", "top_k_experts"},
             "expert_used_count", out);
  add_counts(config, {"n_group"}, "expert_group_count", out);
  add_counts(config, {"topk_group"}, "expert_group_used_count", out);
  const auto function =
      config.find_text({"score_function", "scoring_func", "score_func", "moe_router_activation",
                        "moe_router_activation_func", "expert_selection_fn"});
  if (!function) return;
  for (const NamedNumber& known : kGatingFunctions) {
    if (known.name == *function) return out.u32("expert_gating_func", known.value);
  }
  throw ValidationError({.where = "config.json, scoring_func",
                         .found = *function,
                         .expected = "softmax, sigmoid or sqrtsoftplus",
                         .remedy = {}});
}

}  // namespace

void add_file_type(MetadataWriter& out) { out.all().set_u32("general.file_type", 0); }

void add_common_metadata(const ModelContext& model, MetadataWriter& out) {
  const ModelConfig& config = model.config.values;
  out.u32("block_count", model.layers);
  add_counts(config,
             {"max_position_embeddings", "n_ctx", "n_positions", "max_length",
              "max_sequence_length", "model_max_length"},
             "context_length", out);
  add_counts(config, {"hidden_size", "n_embd", "dim"}, "embedding_length", out);
  add_counts(config,
             {"prefix_dense_intermediate_size", "dense_intermediate_size", "intermediate_size",
              "n_inner", "hidden_dim"},
             "feed_forward_length", out);
  add_counts(config, {"num_attention_heads", "n_head", "n_heads"}, "attention.head_count", out);
  add_counts(config, {"num_key_value_heads", "n_kv_heads"}, "attention.head_count_kv", out);
  if (!config.flag("is_causal", true)) out.flag("attention.causal", false);
  add_rope(model, out);
  add_number(config, {"rms_norm_eps", "norm_eps"}, "attention.layer_norm_rms_epsilon", out);
  add_number(config, {"layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"},
             "attention.layer_norm_epsilon", out);
  add_experts(config, out);
  if (config.has("head_dim")) {
    out.u32("attention.key_length", config.count({"head_dim"}));
    out.u32("attention.value_length", config.count({"head_dim"}));
  }
  add_file_type(out);
}

std::vector<GgufBool> sliding_layers(const ModelContext& model) {
  std::vector<GgufBool> layers;
  const Json* types = model.config.values.find({"layer_types"});
  if (types == nullptr) return layers;
  if (!types->is_array()) {
    throw ValidationError({.where = "config.json, layer_types",
                           .found = types->type_name(),
                           .expected = "a list with one entry per layer",
                           .remedy = {}});
  }
  for (const Json& type : *types) layers.push_back({type == "sliding_attention"});
  return layers;
}

void add_pooling_type(const ModelContext& model, MetadataWriter& out) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(model.directory / "modules.json", ignored)) return;
  const Json modules = read_json(model.directory / "modules.json");
  std::string folder;
  for (const Json& module : modules) {
    const Json* type = find_member(module, "type");
    const Json* path = find_member(module, "path");
    if (type == nullptr || path == nullptr || !type->is_string() || !path->is_string()) continue;
    if (!type->get<std::string>().ends_with("Pooling")) continue;
    folder = path->get<std::string>();
    break;
  }
  if (folder.empty() || folder.find("..") != std::string::npos || folder.starts_with('/')) return;
  const Json pooling = read_json(model.directory / folder / "config.json");
  const auto chosen = [&](const char* key) {
    const Json* value = find_member(pooling, key);
    return value != nullptr && *value == true;
  };
  if (chosen("pooling_mode_mean_tokens")) return out.u32("pooling_type", 1);
  if (chosen("pooling_mode_cls_token")) return out.u32("pooling_type", 2);
  if (chosen("pooling_mode_lasttoken")) return out.u32("pooling_type", 3);
  const Json* mode = find_member(pooling, "pooling_mode");
  for (const NamedNumber& known : kPoolingTypes) {
    if (mode != nullptr && *mode == known.name) return out.u32("pooling_type", known.value);
  }
  throw ValidationError({.where = folder + "/config.json",
                         .found = "no pooling mode that GGUF knows",
                         .expected = "mean, cls or last token",
                         .remedy = {}});
}

}  // namespace qwodel
