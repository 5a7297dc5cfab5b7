// Granite, dense and mixture of experts: Llama with multipliers.
#include <string>

#include "models/families.h"
#include "models/llama.h"
#include "models/metadata.h"
#include "models/rope.h"
#include "models/transforms.h"

namespace qwodel {
namespace {

bool has_experts(const ModelContext& model) {
  return model.config.values.find_count({"num_local_experts"}).value_or(0) > 0;
}

// A model without experts keeps its feed-forward in "shared_mlp": then it is the plain one.
std::string shared_name(const ModelContext& model, std::string name) {
  const std::string suffix = "_shexp";
  if (!has_experts(model)) name.erase(name.find(suffix), suffix.size());
  return name;
}

void split_shared(const ModelContext& model, const RuleMatch& match,
                  std::vector<ModelTensor>& out) {
  split_gate_up(model, match, out);
  for (ModelTensor& tensor : out) tensor.name = shared_name(model, tensor.name);
}

void copy_shared(const ModelContext& model, const RuleMatch& match, std::vector<ModelTensor>& out) {
  out.push_back(tensor_of(shared_name(model, match.name), whole_view(match)));
}

constexpr TensorRule kGraniteMoeTensors[] = {
    {"embed_tokens", "token_embd"},
    {"norm", "output_norm"},
    {.hf = "lm_head", .gguf = "output", .need = Need::optional},
    {"layers.{L}.input_layernorm", "blk.{L}.attn_norm"},
    {"layers.{L}.self_attn.q_proj", "blk.{L}.attn_q", rotary_q},
    {"layers.{L}.self_attn.k_proj", "blk.{L}.attn_k", rotary_k},
    {"layers.{L}.self_attn.v_proj", "blk.{L}.attn_v"},
    {"layers.{L}.self_attn.o_proj", "blk.{L}.attn_output"},
    {"layers.{L}.post_attention_layernorm", "blk.{L}.ffn_norm"},
    {"layers.{L}.block_sparse_moe.router.layer", "blk.{L}.ffn_gate_inp", copy_tensor,
     Need::optional},
    {"layers.{L}.block_sparse_moe.input_linear", "blk.{L}.ffn_gate_exps", split_gate_up,
     Need::optional},
    {"layers.{L}.block_sparse_moe.output_linear", "blk.{L}.ffn_down_exps", copy_tensor,
     Need::optional},
    {"layers.{L}.shared_mlp.input_linear", "blk.{L}.ffn_gate_shexp", split_shared, Need::optional},
    {"layers.{L}.shared_mlp.output_linear", "blk.{L}.ffn_down_shexp", copy_shared, Need::optional},
};

constexpr ConfigDefaults kGraniteDefaults[] = {
    {.model_type = "granite",
     .values = R"({"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
                   "num_hidden_layers": 32, "num_attention_heads": 32,
                   "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
                   "embedding_multiplier": 1.0, "logits_scaling": 1.0,
                   "residual_multiplier": 1.0, "attention_multiplier": 1.0})"},
};
constexpr std::string_view kMoeValues =
    R"({"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
        "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6, "embedding_multiplier": 1.0, "logits_scaling": 1.0,
        "residual_multiplier": 1.0, "attention_multiplier": 1.0, "num_local_experts": 8,
        "num_experts_per_tok": 2})";
constexpr ConfigDefaults kMoeDefaults[] = {{.model_type = "granitemoe", .values = kMoeValues}};
constexpr ConfigDefaults kMoeSharedDefaults[] = {
    {.model_type = "granitemoeshared", .values = kMoeValues}};

struct Multiplier {
  std::string_view config;
  std::string_view gguf;
};

constexpr Multiplier kMultipliers[] = {
    {"attention_multiplier", "attention.scale"},
    {"embedding_multiplier", "embedding_scale"},
    {"residual_multiplier", "residual_scale"},
    {"logits_scaling", "logit_scale"},
};

void add_granite_metadata(const ModelContext& model, MetadataWriter& out) {
  add_common_metadata(model, out);
  const ModelConfig& config = model.config.values;
  out.erase("attention.key_length");  // the runtime knows no head_dim of its own here
  out.erase("attention.value_length");
  out.u32("vocab_size", config.count({"vocab_size"}));
  out.u32("rope.dimension_count", config.hidden_size() / config.heads());
  for (const Multiplier& multiplier : kMultipliers) {
    const double value = config.find_number({multiplier.config}).value_or(0);
    if (value != 0) out.f32(multiplier.gguf, value);
  }
}

void add_granite_moe_metadata(const ModelContext& model, MetadataWriter& out) {
  add_granite_metadata(model, out);
  const auto size = model.config.values.find_count({"shared_intermediate_size"}).value_or(0);
  if (size != 0) out.u32("expert_shared_feed_forward_length", size);
}

// Encoders and projectors of the vision and speech variants.
bool drop_other_modalities(const ModelContext&, std::string_view name) {
  return name.starts_with("encoder.") || name.find("image_") != std::string_view::npos ||
         name.find("layerwise_projectors") != std::string_view::npos ||
         name.find("spatial_projectors") != std::string_view::npos;
}

constexpr VocabularyKind kVocabulary[] = {VocabularyKind::sentencepiece,
                                          VocabularyKind::byte_fallback_bpe,
                                          VocabularyKind::byte_level_bpe};

constexpr ModelClass granite_row(std::string_view name, std::string_view architecture,
                                 std::span<const TensorRule> tensors,
                                 void (*metadata)(const ModelContext&, MetadataWriter&),
                                 std::span<const ConfigDefaults> defaults) {
  return {.name = name,
          .architecture = architecture,
          .tensors = tensors,
          .metadata = metadata,
          .vocabulary = kVocabulary,
          .defaults = defaults,
          .drop = drop_other_modalities,
          .generate = add_llama3_factors,
          .before_vocabulary = add_llama_space_prefix,
          .after_vocabulary = add_llama_special_tokens};
}

constexpr ModelClass kRows[] = {
    granite_row("GraniteForCausalLM", "granite", kLlamaTensors, add_granite_metadata,
                kGraniteDefaults),
    granite_row("GraniteMoeForCausalLM", "granitemoe", kGraniteMoeTensors, add_granite_moe_metadata,
                kMoeDefaults),
    granite_row("GraniteMoeSharedForCausalLM", "granitemoe", kGraniteMoeTensors,
                add_granite_moe_metadata, kMoeSharedDefaults),
};

}  // namespace

std::span<const ModelClass> granite_classes() { return kRows; }

}  // namespace qwodel
