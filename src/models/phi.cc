// Phi-2, Phi-3 and Phi-4.
#include <fmt/format.h>

#include <cmath>

#include "io/json.h"
#include "models/families.h"
#include "models/metadata.h"
#include "models/rope.h"
#include "models/transforms.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr TensorRule kPhi2Tensors[] = {
    {"embed_tokens", "token_embd"},
    {"final_layernorm", "output_norm"},
    {"lm_head", "output"},
    {"layers.{L}.input_layernorm", "blk.{L}.attn_norm"},
    {"layers.{L}.self_attn.q_proj", "blk.{L}.attn_q"},
    {"layers.{L}.self_attn.k_proj", "blk.{L}.attn_k"},
    {"layers.{L}.self_attn.v_proj", "blk.{L}.attn_v"},
    {"layers.{L}.self_attn.dense", "blk.{L}.attn_output"},
    {"layers.{L}.mlp.fc1", "blk.{L}.ffn_up"},
    {"layers.{L}.mlp.fc2", "blk.{L}.ffn_down"},
};

constexpr TensorRule kPhi3Tensors[] = {
    {"embed_tokens", "token_embd"},
    {"norm", "output_norm"},
    {.hf = "lm_head", .gguf = "output", .need = Need::optional},
    {"layers.{L}.input_layernorm", "blk.{L}.attn_norm"},
    {"layers.{L}.self_attn.qkv_proj", "blk.{L}.attn_qkv"},
    {"layers.{L}.self_attn.o_proj", "blk.{L}.attn_output"},
    {"layers.{L}.post_attention_layernorm", "blk.{L}.ffn_norm"},
    {"layers.{L}.mlp.gate_up_proj", "blk.{L}.ffn_up"},
    {"layers.{L}.mlp.down_proj", "blk.{L}.ffn_down"},
};

constexpr VocabularyKind kByteLevel[] = {VocabularyKind::byte_level_bpe};
constexpr VocabularyKind kPhi3Vocabulary[] = {VocabularyKind::sentencepiece,
                                              VocabularyKind::byte_fallback_bpe,
                                              VocabularyKind::byte_level_bpe};

constexpr ConfigDefaults kPhi2Defaults[] = {
    {.model_type = "phi",
     .values = R"({"vocab_size": 51200, "hidden_size": 2048, "num_hidden_layers": 24,
                   "num_attention_heads": 32, "max_position_embeddings": 2048,
                   "layer_norm_eps": 1e-5})",
     .partial_rotary_factor = 0.5},
};
constexpr ConfigDefaults kPhi3Defaults[] = {
    {.model_type = "phi3",
     .values = R"({"vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192,
                   "num_hidden_layers": 32, "num_attention_heads": 32,
                   "max_position_embeddings": 4096, "original_max_position_embeddings": 4096,
                   "rms_norm_eps": 1e-5})",
     .partial_rotary_factor = 1.0},
};

// int(factor * width) // heads, as the converter has it.
std::uint64_t rotary_dimensions(const ModelContext& model) {
  const ModelConfig& config = model.config.values;
  const double factor = model.config.rope.find_number({"partial_rotary_factor"}).value_or(1.0);
  if (!(factor >= 0 && factor <= 1)) {
    throw ValidationError({.where = "config.json, partial_rotary_factor",
                           .found = fmt::format("{}", factor),
                           .expected = "0 to 1",
                           .remedy = {}});
  }
  const double rows = factor * static_cast<double>(config.hidden_size());
  return static_cast<std::uint64_t>(rows) / config.heads();
}

void add_phi2_metadata(const ModelContext& model, MetadataWriter& out) {
  const ModelConfig& config = model.config.values;
  out.u32("context_length", config.count({"n_positions", "max_position_embeddings"}));
  out.u32("embedding_length", config.hidden_size());
  out.u32("feed_forward_length", 4 * config.hidden_size());
  out.u32("block_count", model.layers);
  out.u32("attention.head_count", config.heads());
  out.u32("attention.head_count_kv", config.heads());
  out.f32("attention.layer_norm_epsilon", config.number({"layer_norm_epsilon", "layer_norm_eps"}));
  out.u32("rope.dimension_count", rotary_dimensions(model));
  add_file_type(out);
  out.all().set_bool("tokenizer.ggml.add_bos_token", false);
}

std::uint64_t pretrained_length(const ModelContext& model) {
  return model.config.rope.size({"original_max_position_embeddings"});
}

std::uint64_t context_length(const ModelContext& model) {
  return model.config.values.size({"n_positions", "max_position_embeddings"});
}

void add_phi3_metadata(const ModelContext& model, MetadataWriter& out) {
  const ModelConfig& config = model.config.values;
  out.u32("context_length", context_length(model));
  out.u32("rope.scaling.original_context_length", pretrained_length(model));
  out.u32("embedding_length", config.hidden_size());
  out.u32("feed_forward_length", config.count({"intermediate_size"}));
  out.u32("block_count", model.layers);
  out.u32("attention.head_count", config.heads());
  out.u32("attention.head_count_kv", config.kv_heads());
  out.f32("attention.layer_norm_rms_epsilon", config.number({"rms_norm_eps"}));
  out.u32("rope.dimension_count", rotary_dimensions(model));
  out.f32("rope.freq_base", model.config.full_rope.number({"rope_theta"}));
  add_file_type(out);
  // 0 tells the runtime that there is no window: Phi-4.
  out.u32("attention.sliding_window", config.find_count({"sliding_window"}).value_or(0));
}

bool has_long_factors(const ModelContext& model) {
  const Json* factors = model.config.rope.find({"long_factor"});
  return factors != nullptr && !factors->empty();
}

// LongRoPE (Ding et al. 2024): attention is scaled by sqrt(1 + ln(s) / ln(pretrained length)).
void add_attention_factor(const ModelContext& model, MetadataWriter& out) {
  if (!has_long_factors(model)) return;
  const auto original = static_cast<double>(pretrained_length(model));
  const double scale = static_cast<double>(context_length(model)) / original;
  const double factor = scale > 1 ? std::sqrt(1 + std::log(scale) / std::log(original)) : 1.0;
  if (!std::isfinite(factor)) {
    throw ValidationError({.where = "config.json, original_max_position_embeddings",
                           .found = fmt::format("{}", original),
                           .expected = "more than 1",
                           .remedy = {}});
  }
  out.f32("rope.scaling.attn_factor", factor);
}

void add_long_factors(const ModelContext& model, std::vector<ModelTensor>& out) {
  if (!has_long_factors(model)) return;
  const std::uint64_t dimensions = rotary_dimensions(model);
  for (const std::string_view length : {"long", "short"}) {
    const std::string key = std::string(length) + "_factor";
    std::vector<float> factors = float_list(model.config.rope, key);
    if (2 * factors.size() != dimensions) {
      throw ValidationError({.where = "config.json, " + key,
                             .found = fmt::format("{} factors", factors.size()),
                             .expected = fmt::format("half of {} dimensions", dimensions),
                             .remedy = {}});
    }
    out.push_back(
        generated_tensor(fmt::format("rope_factors_{}.weight", length), std::move(factors)));
  }
}

constexpr ModelClass kRows[] = {
    {.name = "PhiForCausalLM",
     .architecture = "phi2",
     .tensors = kPhi2Tensors,
     .metadata = add_phi2_metadata,
     .vocabulary = kByteLevel,
     .defaults = kPhi2Defaults},
    {.name = "Phi3ForCausalLM",
     .architecture = "phi3",
     .tensors = kPhi3Tensors,
     .metadata = add_phi3_metadata,
     .vocabulary = kPhi3Vocabulary,
     .defaults = kPhi3Defaults,
     .added_tokens = AddedTokenRule::as_declared,
     .generate = add_long_factors,
     .early_metadata = add_attention_factor},
};

}  // namespace

std::span<const ModelClass> phi_classes() { return kRows; }

}  // namespace qwodel
