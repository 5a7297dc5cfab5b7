// MiniCPM: Llama whose embeddings, residuals and logits are scaled. transformers does not know the
// class: config.json is read as it is.
#include <cmath>

#include "models/families.h"
#include "models/metadata.h"
#include "models/rope.h"
#include "models/transforms.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr TensorRule kTensors[] = {
    {"embed_tokens", "token_embd"},
    {"norm", "output_norm"},
    {"lm_head", "output", copy_tensor, Need::optional},
    {"layers.{L}.input_layernorm", "blk.{L}.attn_norm"},
    {"layers.{L}.self_attn.q_proj", "blk.{L}.attn_q", rotary_q},
    {"layers.{L}.self_attn.k_proj", "blk.{L}.attn_k", rotary_k},
    {"layers.{L}.self_attn.v_proj", "blk.{L}.attn_v"},
    {"layers.{L}.self_attn.o_proj", "blk.{L}.attn_output"},
    {"layers.{L}.post_attention_layernorm", "blk.{L}.ffn_norm"},
    {"layers.{L}.mlp.gate_proj", "blk.{L}.ffn_gate"},
    {"layers.{L}.mlp.up_proj", "blk.{L}.ffn_up"},
    {"layers.{L}.mlp.down_proj", "blk.{L}.ffn_down"},
};

constexpr VocabularyKind kVocabulary[] = {VocabularyKind::sentencepiece};

void add_metadata(const ModelContext& model, MetadataWriter& out) {
  const ModelConfig& config = model.config.values;
  add_common_metadata(model, out);
  out.f32("embedding_scale", config.number({"scale_emb"}));
  out.f32("residual_scale",
          config.number({"scale_depth"}) / std::sqrt(static_cast<double>(model.layers)));
  out.f32("logit_scale", static_cast<double>(config.hidden_size()) /
                             static_cast<double>(config.size({"dim_model_base"})));
}

// Long and short rotary factors, one per pair of a head's rows.
void add_rope_factors(const ModelContext& model, std::vector<ModelTensor>& out) {
  const ModelConfig& rope = model.config.rope;
  if (!rope.has("long_factor") && !rope.has("short_factor")) return;
  const std::uint64_t pairs = model.config.values.hidden_size() / model.config.values.heads() / 2;
  for (const char* kind : {"long", "short"}) {
    const std::string key = std::string(kind) + "_factor";
    std::vector<float> factors = float_list(rope, key);
    if (factors.size() != pairs) {
      throw ValidationError({.where = "config.json, " + key,
                             .found = std::to_string(factors.size()) + " factors",
                             .expected = std::to_string(pairs) + ", half of a head's rows",
                             .remedy = {}});
    }
    out.push_back(
        generated_tensor("rope_factors_" + std::string(kind) + ".weight", std::move(factors)));
  }
}

constexpr ModelClass kRows[] = {{
    .name = "MiniCPMForCausalLM",
    .architecture = "minicpm",
    .tensors = kTensors,
    .metadata = add_metadata,
    .vocabulary = kVocabulary,
    .generate = add_rope_factors,
}};

}  // namespace

std::span<const ModelClass> minicpm_classes() { return kRows; }

}  // namespace qwodel
