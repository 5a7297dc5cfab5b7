// OLMo and OLMo 2.
#include "models/families.h"
#include "models/metadata.h"
#include "models/transforms.h"

namespace qwodel {
namespace {

// The converter reorders only the weights of q and k.
void rotary_q_weight(const ModelContext& model, const RuleMatch& match,
                     std::vector<ModelTensor>& out) {
  (match.name.ends_with(".weight") ? rotary_q : copy_tensor)(model, match, out);
}

void rotary_k_weight(const ModelContext& model, const RuleMatch& match,
                     std::vector<ModelTensor>& out) {
  (match.name.ends_with(".weight") ? rotary_k : copy_tensor)(model, match, out);
}

// Its norms have no weights.
constexpr TensorRule kOlmoTensors[] = {
    {"embed_tokens", "token_embd"},
    {.hf = "lm_head", .gguf = "output", .need = Need::optional},
    {"layers.{L}.self_attn.q_proj", "blk.{L}.attn_q", rotary_q_weight},
    {"layers.{L}.self_attn.k_proj", "blk.{L}.attn_k", rotary_k_weight},
    {"layers.{L}.self_attn.v_proj", "blk.{L}.attn_v"},
    {"layers.{L}.self_attn.o_proj", "blk.{L}.attn_output"},
    {"layers.{L}.mlp.gate_proj", "blk.{L}.ffn_gate"},
    {"layers.{L}.mlp.up_proj", "blk.{L}.ffn_up"},
    {"layers.{L}.mlp.down_proj", "blk.{L}.ffn_down"},
};

// Norms after attention and feed-forward, none before.
constexpr TensorRule kOlmo2Tensors[] = {
    {"embed_tokens", "token_embd"},
    {"norm", "output_norm"},
    {.hf = "lm_head", .gguf = "output", .need = Need::optional},
    {"layers.{L}.self_attn.q_proj", "blk.{L}.attn_q"},
    {"layers.{L}.self_attn.q_norm", "blk.{L}.attn_q_norm"},
    {"layers.{L}.self_attn.k_proj", "blk.{L}.attn_k"},
    {"layers.{L}.self_attn.k_norm", "blk.{L}.attn_k_norm"},
    {"layers.{L}.self_attn.v_proj", "blk.{L}.attn_v"},
    {"layers.{L}.self_attn.o_proj", "blk.{L}.attn_output"},
    {"layers.{L}.post_attention_layernorm", "blk.{L}.post_attention_norm"},
    {"layers.{L}.mlp.gate_proj", "blk.{L}.ffn_gate"},
    {"layers.{L}.mlp.up_proj", "blk.{L}.ffn_up"},
    {"layers.{L}.mlp.down_proj", "blk.{L}.ffn_down"},
    {"layers.{L}.post_feedforward_layernorm", "blk.{L}.post_ffw_norm"},
};

constexpr VocabularyKind kVocabulary[] = {VocabularyKind::byte_level_bpe};

constexpr ConfigDefaults kOlmoDefaults[] = {
    {.model_type = "olmo",
     .values = R"({"vocab_size": 50304, "hidden_size": 4096, "intermediate_size": 11008,
                   "num_hidden_layers": 32, "num_attention_heads": 32,
                   "max_position_embeddings": 2048})"},
};
constexpr ConfigDefaults kOlmo2Defaults[] = {
    {.model_type = "olmo2",
     .values = R"({"vocab_size": 50304, "hidden_size": 4096, "intermediate_size": 11008,
                   "num_hidden_layers": 32, "num_attention_heads": 32,
                   "max_position_embeddings": 2048, "rms_norm_eps": 1e-5})"},
};

void add_olmo_metadata(const ModelContext& model, MetadataWriter& out) {
  add_common_metadata(model, out);
  out.f32("attention.layer_norm_epsilon", 1e-5);
  if (const auto clip = model.config.values.find_number({"clip_qkv"})) {
    out.f32("attention.clamp_kqv", *clip);
  }
}

constexpr ModelClass kRows[] = {
    {.name = "OlmoForCausalLM",
     .architecture = "olmo",
     .tensors = kOlmoTensors,
     .metadata = add_olmo_metadata,
     .vocabulary = kVocabulary,
     .defaults = kOlmoDefaults},
    {.name = "OLMoForCausalLM",
     .architecture = "olmo",
     .tensors = kOlmoTensors,
     .metadata = add_olmo_metadata,
     .vocabulary = kVocabulary,
     .defaults = kOlmoDefaults},
    {.name = "Olmo2ForCausalLM",
     .architecture = "olmo2",
     .tensors = kOlmo2Tensors,
     .metadata = add_common_metadata,
     .vocabulary = kVocabulary,
     .defaults = kOlmo2Defaults},
};

}  // namespace

std::span<const ModelClass> olmo_classes() { return kRows; }

}  // namespace qwodel
