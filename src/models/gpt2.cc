// GPT-2 and StarCoder 2.
#include "models/families.h"
#include "models/metadata.h"
#include "models/transforms.h"

namespace qwodel {
namespace {

// GPT-2 multiplies from the left: its "Conv1D" weights are (in, out).
constexpr TensorRule kGpt2Tensors[] = {
    {"wte", "token_embd"},
    {"wpe", "position_embd"},
    {"ln_f", "output_norm"},
    {.hf = "lm_head", .gguf = "output", .need = Need::optional},
    {"h.{L}.ln_1", "blk.{L}.attn_norm"},
    {"h.{L}.attn.c_attn", "blk.{L}.attn_qkv", transpose},
    {"h.{L}.attn.c_proj", "blk.{L}.attn_output", transpose},
    {"h.{L}.ln_2", "blk.{L}.ffn_norm"},
    {"h.{L}.mlp.c_fc", "blk.{L}.ffn_up", transpose},
    {"h.{L}.mlp.c_proj", "blk.{L}.ffn_down", transpose},
};

constexpr TensorRule kBigCodeTensors[] = {
    {"wte", "token_embd"},
    {"wpe", "position_embd"},
    {"ln_f", "output_norm"},
    {.hf = "lm_head", .gguf = "output", .need = Need::optional},
    {"h.{L}.ln_1", "blk.{L}.attn_norm"},
    {"h.{L}.attn.c_attn", "blk.{L}.attn_qkv"},
    {"h.{L}.attn.c_proj", "blk.{L}.attn_output"},
    {"h.{L}.ln_2", "blk.{L}.ffn_norm"},
    {"h.{L}.mlp.c_fc", "blk.{L}.ffn_up"},
    {"h.{L}.mlp.c_proj", "blk.{L}.ffn_down"},
};

constexpr TensorRule kStarCoder2Tensors[] = {
    {"embed_tokens", "token_embd"},
    {"norm", "output_norm"},
    {.hf = "lm_head", .gguf = "output", .need = Need::optional},
    {"layers.{L}.input_layernorm", "blk.{L}.attn_norm"},
    {"layers.{L}.self_attn.q_proj", "blk.{L}.attn_q"},
    {"layers.{L}.self_attn.k_proj", "blk.{L}.attn_k"},
    {"layers.{L}.self_attn.v_proj", "blk.{L}.attn_v"},
    {"layers.{L}.self_attn.o_proj", "blk.{L}.attn_output"},
    {"layers.{L}.post_attention_layernorm", "blk.{L}.ffn_norm"},
    {"layers.{L}.mlp.c_fc", "blk.{L}.ffn_up"},
    {"layers.{L}.mlp.c_proj", "blk.{L}.ffn_down"},
};

constexpr VocabularyKind kVocabulary[] = {VocabularyKind::byte_level_bpe};

constexpr std::string_view kGptAliases =
    R"({"$aliases": {"hidden_size": "n_embd", "max_position_embeddings": "n_positions",
                     "num_attention_heads": "n_head", "num_hidden_layers": "n_layer"},
        "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12,
        "layer_norm_epsilon": 1e-5})";
constexpr ConfigDefaults kGpt2Defaults[] = {
    {.model_type = "gpt2", .values = kGptAliases, .kv_heads_from_heads = false, .rope_theta = 0}};
constexpr ConfigDefaults kBigCodeDefaults[] = {{.model_type = "gpt_bigcode",
                                                .values = kGptAliases,
                                                .kv_heads_from_heads = false,
                                                .rope_theta = 0}};
constexpr ConfigDefaults kStarCoder2Defaults[] = {
    {.model_type = "starcoder2",
     .values = R"({"vocab_size": 49152, "hidden_size": 3072, "intermediate_size": 12288,
                   "num_hidden_layers": 30, "num_attention_heads": 24, "num_key_value_heads": 2,
                   "max_position_embeddings": 4096, "norm_epsilon": 1e-5})",
     .kv_heads_from_heads = false},
};

void add_gpt2_metadata(const ModelContext& model, MetadataWriter& out) {
  const ModelConfig& config = model.config.values;
  out.u32("block_count", model.layers);
  out.u32("context_length", config.count({"n_ctx", "n_positions", "max_position_embeddings"}));
  out.u32("embedding_length", config.hidden_size());
  out.u32("feed_forward_length", 4 * config.hidden_size());
  out.u32("attention.head_count", config.heads());
  out.f32("attention.layer_norm_epsilon", config.number({"layer_norm_epsilon"}));
  add_file_type(out);
}

void add_bigcode_metadata(const ModelContext& model, MetadataWriter& out) {
  const ModelConfig& config = model.config.values;
  out.u32("context_length", config.count({"n_positions", "max_position_embeddings"}));
  out.u32("embedding_length", config.hidden_size());
  out.u32("feed_forward_length", 4 * config.hidden_size());
  out.u32("block_count", model.layers);
  out.u32("attention.head_count", config.heads());
  out.u32("attention.head_count_kv", 1);
  out.f32("attention.layer_norm_epsilon", config.number({"layer_norm_epsilon"}));
  add_file_type(out);
}

// The causal mask, which old checkpoints store.
bool drop_mask(const ModelContext&, std::string_view name) {
  return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias");
}

constexpr ModelClass kRows[] = {
    {.name = "GPT2LMHeadModel",
     .architecture = "gpt2",
     .tensors = kGpt2Tensors,
     .metadata = add_gpt2_metadata,
     .vocabulary = kVocabulary,
     .defaults = kGpt2Defaults,
     .prefix = "transformer.",
     .drop = drop_mask},
    {.name = "GPTBigCodeForCausalLM",
     .architecture = "starcoder",
     .tensors = kBigCodeTensors,
     .metadata = add_bigcode_metadata,
     .vocabulary = kVocabulary,
     .defaults = kBigCodeDefaults,
     .prefix = "transformer.",
     .drop = drop_mask},
    {.name = "Starcoder2ForCausalLM",
     .architecture = "starcoder2",
     .tensors = kStarCoder2Tensors,
     .metadata = add_common_metadata,
     .vocabulary = kVocabulary,
     .defaults = kStarCoder2Defaults},
};

}  // namespace

std::span<const ModelClass> gpt2_classes() { return kRows; }

}  // namespace qwodel
