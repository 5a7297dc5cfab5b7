// GPT-NeoX and Pythia.
#include "models/families.h"
#include "models/grouped_qkv.h"
#include "models/metadata.h"

namespace qwodel {
namespace {

constexpr TensorRule kTensors[] = {
    {"embed_in", "token_embd"},
    {"layers.{L}.input_layernorm", "blk.{L}.attn_norm"},
    {"layers.{L}.attention.query_key_value", "blk.{L}.attn_qkv", regroup_qkv_per_head},
    {"layers.{L}.attention.dense", "blk.{L}.attn_output"},
    {"layers.{L}.post_attention_layernorm", "blk.{L}.ffn_norm"},
    {"layers.{L}.mlp.dense_h_to_4h", "blk.{L}.ffn_up"},
    {"layers.{L}.mlp.dense_4h_to_h", "blk.{L}.ffn_down"},
    {"final_layer_norm", "output_norm"},
    {"embed_out", "output", copy_tensor, Need::optional},
};

constexpr VocabularyKind kVocabulary[] = {VocabularyKind::byte_level_bpe};

constexpr ConfigDefaults kDefaults[] = {{
    .model_type = "gpt_neox",
    .values = R"({"max_position_embeddings": 2048, "layer_norm_eps": 1e-5})",
    .partial_rotary_factor = 0.25,
}};

// The share of a head that rotates has two names: rotary_pct in published models, the rotary
// settings' partial_rotary_factor in models that a recent transformers wrote.
std::uint64_t rotary_dimensions(const LoadedConfig& config) {
  auto share = config.values.find_number({"rotary_pct"});
  if (!share) share = config.rope.number({"partial_rotary_factor"});
  const std::uint64_t head = config.values.hidden_size() / config.values.heads();
  const double dimensions = *share * static_cast<double>(head);
  return dimensions > 0 && dimensions <= static_cast<double>(head)
             ? static_cast<std::uint64_t>(dimensions)
             : 0;
}

void add_metadata(const ModelContext& model, MetadataWriter& out) {
  const ModelConfig& config = model.config.values;
  out.u32("context_length", config.count({"max_position_embeddings"}));
  out.u32("embedding_length", config.hidden_size());
  out.u32("block_count", model.layers);
  out.u32("feed_forward_length", config.count({"intermediate_size"}));
  out.u32("rope.dimension_count", rotary_dimensions(model.config));
  out.u32("attention.head_count", config.heads());
  out.flag("use_parallel_residual", config.flag("use_parallel_residual", true));
  out.f32("attention.layer_norm_epsilon", config.number({"layer_norm_eps"}));
}

constexpr ModelClass kRows[] = {{
    .name = "GPTNeoXForCausalLM",
    .architecture = "gptneox",
    .tensors = kTensors,
    .metadata = add_metadata,
    .vocabulary = kVocabulary,
    .defaults = kDefaults,
    .prefix = "gpt_neox.",
}};

}  // namespace

std::span<const ModelClass> gptneox_classes() { return kRows; }

}  // namespace qwodel
