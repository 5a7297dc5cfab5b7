// Command-R and Aya 23.
#include "models/families.h"
#include "models/metadata.h"
#include "models/transforms.h"

namespace qwodel {
namespace {

constexpr TensorRule kTensors[] = {
    {"embed_tokens", "token_embd"},
    {"norm", "output_norm"},
    {"layers.{L}.input_layernorm", "blk.{L}.attn_norm"},
    {"layers.{L}.self_attn.q_proj", "blk.{L}.attn_q"},
    {"layers.{L}.self_attn.q_norm", "blk.{L}.attn_q_norm", copy_tensor, Need::optional},
    {"layers.{L}.self_attn.k_proj", "blk.{L}.attn_k"},
    {"layers.{L}.self_attn.k_norm", "blk.{L}.attn_k_norm", copy_tensor, Need::optional},
    {"layers.{L}.self_attn.v_proj", "blk.{L}.attn_v"},
    {"layers.{L}.self_attn.o_proj", "blk.{L}.attn_output"},
    {"layers.{L}.mlp.gate_proj", "blk.{L}.ffn_gate"},
    {"layers.{L}.mlp.up_proj", "blk.{L}.ffn_up"},
    {"layers.{L}.mlp.down_proj", "blk.{L}.ffn_down"},
};

constexpr VocabularyKind kVocabulary[] = {VocabularyKind::byte_level_bpe};
constexpr std::string_view kTiedHead[] = {"lm_head.weight"};

constexpr ConfigDefaults kDefaults[] = {
    {.model_type = "cohere",
     .values = R"({"vocab_size": 256000, "hidden_size": 8192, "intermediate_size": 22528,
                   "logit_scale": 0.0625, "num_hidden_layers": 40, "num_attention_heads": 64,
                   "max_position_embeddings": 8192, "layer_norm_eps": 1e-5})",
     .rope_theta = 500000.0},
};

void add_cohere_metadata(const ModelContext& model, MetadataWriter& out) {
  add_common_metadata(model, out);
  const ModelConfig& config = model.config.values;
  // The real context; max_position_embeddings is what training began with.
  out.u32("context_length", config.count({"model_max_length", "max_position_embeddings"}));
  out.f32("logit_scale", config.number({"logit_scale"}));
  out.text("rope.scaling.type", "none");
}

constexpr ModelClass kRows[] = {
    {.name = "CohereForCausalLM",
     .architecture = "command-r",
     .tensors = kTensors,
     .metadata = add_cohere_metadata,
     .vocabulary = kVocabulary,
     .defaults = kDefaults,
     .dropped = kTiedHead},
};

}  // namespace

std::span<const ModelClass> cohere_classes() { return kRows; }

}  // namespace qwodel
