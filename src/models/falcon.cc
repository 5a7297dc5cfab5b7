// Falcon: the 7B layout (one normalization, one key-value head or as many as heads) and the decoder
// of 40B (two normalizations side by side, grouped heads). Variants with ALiBi or biases have no
// GGUF architecture.
#include "models/families.h"
#include "models/grouped_qkv.h"
#include "models/metadata.h"
#include "models/transforms.h"

namespace qwodel {
namespace {

// Key-value heads. transformers writes num_kv_heads = num_attention_heads for a model that
// multi_query says has one; only the new decoder reads the number then.
std::uint64_t kv_heads_of(const ModelConfig& config) {
  const bool multi_query = config.flag("multi_query", false);
  if (multi_query && !config.flag("new_decoder_architecture", false)) return 1;
  const ModelConfig::Keys keys = {"num_kv_heads", "n_head_kv"};
  if (config.find(keys) != nullptr) return config.size(keys);
  return config.has("multi_query") && !multi_query ? config.heads() : 1;
}

void regroup(const ModelContext& model, const RuleMatch& match, std::vector<ModelTensor>& out) {
  if (match.tensor.shape.size() != 2) throw_bad_shape(match, "a matrix: GGUF has no Falcon biases");
  regroup_qkv(match, model.config.values.heads(), kv_heads_of(model.config.values), out);
}

constexpr TensorRule kTensors[] = {
    {"word_embeddings", "token_embd"},
    {"h.{L}.input_layernorm", "blk.{L}.attn_norm"},
    {"h.{L}.ln_mlp", "blk.{L}.attn_norm", copy_tensor, Need::optional},
    {"h.{L}.ln_attn", "blk.{L}.attn_norm_2", copy_tensor, Need::optional},
    {"h.{L}.self_attention.query_key_value", "blk.{L}.attn_qkv", regroup},
    {"h.{L}.self_attention.dense", "blk.{L}.attn_output"},
    {"h.{L}.mlp.dense_h_to_4h", "blk.{L}.ffn_up"},
    {"h.{L}.mlp.dense_4h_to_h", "blk.{L}.ffn_down"},
    {"ln_f", "output_norm"},
    {"lm_head", "output", copy_tensor, Need::optional},
};

constexpr VocabularyKind kVocabulary[] = {VocabularyKind::byte_level_bpe};

constexpr ConfigDefaults kDefaults[] = {{
    .model_type = "falcon",
    .values = R"({"layer_norm_epsilon": 1e-5, "multi_query": true})",
    .kv_heads_from_heads = false,
}};

void add_metadata(const ModelContext& model, MetadataWriter& out) {
  const ModelConfig& config = model.config.values;
  const std::uint64_t width = config.hidden_size();
  out.u32("context_length", 2048);            // config.json does not say
  out.text("tensor_data_layout", "jploski");  // the regrouped attn_qkv
  out.u32("embedding_length", width);
  out.u32("feed_forward_length", 4 * width);
  out.u32("block_count", model.layers);
  out.u32("attention.head_count", config.heads());
  out.u32("attention.head_count_kv", kv_heads_of(config));
  out.f32("attention.layer_norm_epsilon", config.number({"layer_norm_epsilon"}));
  add_file_type(out);
}

constexpr ModelClass falcon_class(std::string_view name) {
  return {
      .name = name,
      .architecture = "falcon",
      .tensors = kTensors,
      .metadata = add_metadata,
      .vocabulary = kVocabulary,
      .defaults = kDefaults,
      .prefix = "transformer.",
  };
}

constexpr ModelClass kRows[] = {falcon_class("FalconForCausalLM"), falcon_class("RWForCausalLM")};

}  // namespace

std::span<const ModelClass> falcon_classes() { return kRows; }

}  // namespace qwodel
