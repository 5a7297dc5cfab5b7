// Qwen 2, 2.5 and 3, dense and mixture of experts.
#include "models/families.h"
#include "models/metadata.h"
#include "models/transforms.h"

namespace qwodel {
namespace {

constexpr TensorRule kQwen2Tensors[] = {
    {"embed_tokens", "token_embd"},
    {"norm", "output_norm"},
    {.hf = "lm_head", .gguf = "output", .need = Need::optional},
    {"layers.{L}.input_layernorm", "blk.{L}.attn_norm"},
    {"layers.{L}.self_attn.q_proj", "blk.{L}.attn_q"},
    {"layers.{L}.self_attn.k_proj", "blk.{L}.attn_k"},
    {"layers.{L}.self_attn.v_proj", "blk.{L}.attn_v"},
    {"layers.{L}.self_attn.o_proj", "blk.{L}.attn_output"},
    {"layers.{L}.post_attention_layernorm", "blk.{L}.ffn_norm"},
    {"layers.{L}.mlp.gate_proj", "blk.{L}.ffn_gate"},
    {"layers.{L}.mlp.up_proj", "blk.{L}.ffn_up"},
    {"layers.{L}.mlp.down_proj", "blk.{L}.ffn_down"},
};

constexpr TensorRule kQwen3Tensors[] = {
    {"embed_tokens", "token_embd"},
    {"norm", "output_norm"},
    {.hf = "lm_head", .gguf = "output", .need = Need::optional},
    {"layers.{L}.input_layernorm", "blk.{L}.attn_norm"},
    {"layers.{L}.self_attn.q_proj", "blk.{L}.attn_q"},
    {"layers.{L}.self_attn.q_norm", "blk.{L}.attn_q_norm"},
    {"layers.{L}.self_attn.k_proj", "blk.{L}.attn_k"},
    {"layers.{L}.self_attn.k_norm", "blk.{L}.attn_k_norm"},
    {"layers.{L}.self_attn.v_proj", "blk.{L}.attn_v"},
    {"layers.{L}.self_attn.o_proj", "blk.{L}.attn_output"},
    {"layers.{L}.post_attention_layernorm", "blk.{L}.ffn_norm"},
    {"layers.{L}.mlp.gate_proj", "blk.{L}.ffn_gate"},
    {"layers.{L}.mlp.up_proj", "blk.{L}.ffn_up"},
    {"layers.{L}.mlp.down_proj", "blk.{L}.ffn_down"},
};

// Experts one by one, or as the fused tensors that newer checkpoints hold.
constexpr TensorRule kQwen2MoeTensors[] = {
    {"embed_tokens", "token_embd"},
    {"norm", "output_norm"},
    {.hf = "lm_head", .gguf = "output", .need = Need::optional},
    {"layers.{L}.input_layernorm", "blk.{L}.attn_norm"},
    {"layers.{L}.self_attn.q_proj", "blk.{L}.attn_q"},
    {"layers.{L}.self_attn.k_proj", "blk.{L}.attn_k"},
    {"layers.{L}.self_attn.v_proj", "blk.{L}.attn_v"},
    {"layers.{L}.self_attn.o_proj", "blk.{L}.attn_output"},
    {"layers.{L}.post_attention_layernorm", "blk.{L}.ffn_norm"},
    {"layers.{L}.mlp.gate", "blk.{L}.ffn_gate_inp"},
    {"layers.{L}.mlp.shared_expert_gate", "blk.{L}.ffn_gate_inp_shexp"},
    {"layers.{L}.mlp.shared_expert.gate_proj", "blk.{L}.ffn_gate_shexp"},
    {"layers.{L}.mlp.shared_expert.up_proj", "blk.{L}.ffn_up_shexp"},
    {"layers.{L}.mlp.shared_expert.down_proj", "blk.{L}.ffn_down_shexp"},
    {.hf = "layers.{L}.mlp.experts.{E}.down_proj",
     .gguf = "blk.{L}.ffn_down_exps",
     .stack = Stack::experts},
    {.hf = "layers.{L}.mlp.experts.{E}.gate_proj",
     .gguf = "blk.{L}.ffn_gate_exps",
     .stack = Stack::experts},
    {.hf = "layers.{L}.mlp.experts.{E}.up_proj",
     .gguf = "blk.{L}.ffn_up_exps",
     .stack = Stack::experts},
    {"layers.{L}.mlp.experts.down_proj", "blk.{L}.ffn_down_exps.weight"},
    {"layers.{L}.mlp.experts.gate_up_proj", "blk.{L}.ffn_gate_exps.weight", split_gate_up},
};

constexpr TensorRule kQwen3MoeTensors[] = {
    {"embed_tokens", "token_embd"},
    {"norm", "output_norm"},
    {.hf = "lm_head", .gguf = "output", .need = Need::optional},
    {"layers.{L}.input_layernorm", "blk.{L}.attn_norm"},
    {"layers.{L}.self_attn.q_proj", "blk.{L}.attn_q"},
    {"layers.{L}.self_attn.q_norm", "blk.{L}.attn_q_norm"},
    {"layers.{L}.self_attn.k_proj", "blk.{L}.attn_k"},
    {"layers.{L}.self_attn.k_norm", "blk.{L}.attn_k_norm"},
    {"layers.{L}.self_attn.v_proj", "blk.{L}.attn_v"},
    {"layers.{L}.self_attn.o_proj", "blk.{L}.attn_output"},
    {"layers.{L}.post_attention_layernorm", "blk.{L}.ffn_norm"},
    {"layers.{L}.mlp.gate", "blk.{L}.ffn_gate_inp"},
    {.hf = "layers.{L}.mlp.experts.{E}.down_proj",
     .gguf = "blk.{L}.ffn_down_exps",
     .stack = Stack::experts},
    {.hf = "layers.{L}.mlp.experts.{E}.gate_proj",
     .gguf = "blk.{L}.ffn_gate_exps",
     .stack = Stack::experts},
    {.hf = "layers.{L}.mlp.experts.{E}.up_proj",
     .gguf = "blk.{L}.ffn_up_exps",
     .stack = Stack::experts},
    {"layers.{L}.mlp.experts.down_proj", "blk.{L}.ffn_down_exps.weight"},
    {"layers.{L}.mlp.experts.gate_up_proj", "blk.{L}.ffn_gate_exps.weight", split_gate_up},
};

constexpr VocabularyKind kDenseVocabulary[] = {VocabularyKind::sentencepiece,
                                               VocabularyKind::byte_level_bpe};
constexpr VocabularyKind kMoeVocabulary[] = {VocabularyKind::byte_level_bpe};

constexpr ConfigDefaults kQwen2Defaults[] = {
    {.model_type = "qwen2",
     .values = R"({"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016,
                   "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
                   "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
                   "use_sliding_window": false, "sliding_window": 4096,
                   "max_window_layers": 28})"},
};
constexpr ConfigDefaults kQwen2MoeDefaults[] = {
    {.model_type = "qwen2_moe",
     .values = R"({"vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 5632,
                   "num_hidden_layers": 24, "num_attention_heads": 16, "num_key_value_heads": 16,
                   "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
                   "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632,
                   "num_experts_per_tok": 4, "num_experts": 60, "norm_topk_prob": false,
                   "use_sliding_window": false})",
     .kv_heads_from_heads = false},
};
constexpr ConfigDefaults kQwen3Defaults[] = {
    {.model_type = "qwen3",
     .values = R"({"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016,
                   "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
                   "head_dim": 128, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
                   "use_sliding_window": false, "sliding_window": 4096,
                   "max_window_layers": 28})"},
};
constexpr ConfigDefaults kQwen3MoeDefaults[] = {
    {.model_type = "qwen3_moe",
     .values = R"({"$aliases": {"num_experts": "num_local_experts"},
                   "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144,
                   "num_hidden_layers": 24, "num_attention_heads": 32, "num_key_value_heads": 4,
                   "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
                   "moe_intermediate_size": 768, "num_experts_per_tok": 8,
                   "num_local_experts": 128, "norm_topk_prob": false,
                   "use_sliding_window": false})",
     .kv_heads_from_heads = false},
};

void add_dense_metadata(const ModelContext& model, MetadataWriter& out) {
  add_common_metadata(model, out);
  add_pooling_type(model, out);
}

void add_moe_metadata(const ModelContext& model, MetadataWriter& out) {
  add_common_metadata(model, out);
  const ModelConfig& config = model.config.values;
  if (const auto size = config.find_count({"moe_intermediate_size"})) {
    out.u32("expert_feed_forward_length", *size);
  }
  if (const auto size = config.find_count({"shared_expert_intermediate_size"})) {
    out.u32("expert_shared_feed_forward_length", *size);
  }
}

constexpr ModelClass dense_row(std::string_view name, std::string_view architecture,
                               std::span<const TensorRule> tensors,
                               std::span<const ConfigDefaults> defaults) {
  return {.name = name,
          .architecture = architecture,
          .tensors = tensors,
          .metadata = add_dense_metadata,
          .vocabulary = kDenseVocabulary,
          .defaults = defaults};
}

constexpr ModelClass moe_row(std::string_view name, std::string_view architecture,
                             std::span<const TensorRule> tensors,
                             std::span<const ConfigDefaults> defaults) {
  return {.name = name,
          .architecture = architecture,
          .tensors = tensors,
          .metadata = add_moe_metadata,
          .vocabulary = kMoeVocabulary,
          .defaults = defaults};
}

constexpr ModelClass kRows[] = {
    dense_row("Qwen2ForCausalLM", "qwen2", kQwen2Tensors, kQwen2Defaults),
    dense_row("Qwen2Model", "qwen2", kQwen2Tensors, kQwen2Defaults),
    dense_row("KORMoForCausalLM", "qwen2", kQwen2Tensors, {}),
    dense_row("Qwen3ForCausalLM", "qwen3", kQwen3Tensors, kQwen3Defaults),
    dense_row("Qwen3Model", "qwen3", kQwen3Tensors, kQwen3Defaults),
    moe_row("Qwen2MoeForCausalLM", "qwen2moe", kQwen2MoeTensors, kQwen2MoeDefaults),
    moe_row("Qwen3MoeForCausalLM", "qwen3moe", kQwen3MoeTensors, kQwen3MoeDefaults),
};

}  // namespace

std::span<const ModelClass> qwen_classes() { return kRows; }

}  // namespace qwodel
