// StableLM 1, 2 and Zephyr.
#include <fmt/format.h>

#include "models/families.h"
#include "models/metadata.h"
#include "models/transforms.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

// Query and key norms are one small tensor per head.
constexpr TensorRule kTensors[] = {
    {"embed_tokens", "token_embd"},
    {"norm", "output_norm"},
    {.hf = "lm_head", .gguf = "output", .need = Need::optional},
    {"layers.{L}.input_layernorm", "blk.{L}.attn_norm"},
    {"layers.{L}.self_attn.q_proj", "blk.{L}.attn_q"},
    {"layers.{L}.self_attn.k_proj", "blk.{L}.attn_k"},
    {"layers.{L}.self_attn.v_proj", "blk.{L}.attn_v"},
    {"layers.{L}.self_attn.o_proj", "blk.{L}.attn_output"},
    {.hf = "layers.{L}.self_attn.q_layernorm.norms.{E}",
     .gguf = "blk.{L}.attn_q_norm",
     .need = Need::optional,
     .stack = Stack::heads},
    {.hf = "layers.{L}.self_attn.k_layernorm.norms.{E}",
     .gguf = "blk.{L}.attn_k_norm",
     .need = Need::optional,
     .stack = Stack::kv_heads},
    {"layers.{L}.post_attention_layernorm", "blk.{L}.ffn_norm", copy_tensor, Need::optional},
    {"layers.{L}.mlp.gate_proj", "blk.{L}.ffn_gate"},
    {"layers.{L}.mlp.up_proj", "blk.{L}.ffn_up"},
    {"layers.{L}.mlp.down_proj", "blk.{L}.ffn_down"},
};

constexpr VocabularyKind kVocabulary[] = {VocabularyKind::byte_level_bpe};

constexpr ConfigDefaults kDefaults[] = {
    {.model_type = "stablelm",
     .values = R"({"vocab_size": 50304, "hidden_size": 2560, "intermediate_size": 6912,
                   "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
                   "max_position_embeddings": 4096, "layer_norm_eps": 1e-5,
                   "use_parallel_residual": false})",
     .kv_heads_from_heads = false,
     .partial_rotary_factor = 0.25},
};

void add_stablelm_metadata(const ModelContext& model, MetadataWriter& out) {
  const ModelConfig& config = model.config.values;
  const double factor = model.config.rope.number({"partial_rotary_factor"});
  if (!(factor >= 0 && factor <= 1)) {
    throw ValidationError({.where = "config.json, partial_rotary_factor",
                           .found = fmt::format("{}", factor),
                           .expected = "0 to 1",
                           .remedy = {}});
  }
  const std::uint64_t head_dim = config.hidden_size() / config.heads();
  out.u32("context_length", config.count({"max_position_embeddings"}));
  out.u32("embedding_length", config.hidden_size());
  out.u32("block_count", model.layers);
  out.u32("feed_forward_length", config.count({"intermediate_size"}));
  out.u32("rope.dimension_count",
          static_cast<std::uint64_t>(factor * static_cast<double>(head_dim)));
  out.u32("attention.head_count", config.heads());
  out.u32("attention.head_count_kv", config.kv_heads());
  out.flag("use_parallel_residual", config.flag("use_parallel_residual", true));
  out.f32("attention.layer_norm_epsilon", config.number({"layer_norm_eps", "norm_eps"}));
  add_file_type(out);
}

constexpr ModelClass stablelm_row(std::string_view name) {
  return {.name = name,
          .architecture = "stablelm",
          .tensors = kTensors,
          .metadata = add_stablelm_metadata,
          .vocabulary = kVocabulary,
          .defaults = kDefaults};
}

constexpr ModelClass kRows[] = {
    stablelm_row("StableLmForCausalLM"),
    stablelm_row("StableLMEpochForCausalLM"),
};

}  // namespace

std::span<const ModelClass> stablelm_classes() { return kRows; }

}  // namespace qwodel
