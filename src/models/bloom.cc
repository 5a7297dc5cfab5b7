// Bloom.
#include "models/families.h"
#include "models/grouped_qkv.h"
#include "models/metadata.h"

namespace qwodel {
namespace {

constexpr TensorRule kTensors[] = {
    {"word_embeddings", "token_embd"},
    {"word_embeddings_layernorm", "token_embd_norm"},
    {"h.{L}.input_layernorm", "blk.{L}.attn_norm"},
    {"h.{L}.self_attention.query_key_value", "blk.{L}.attn_qkv", regroup_qkv_per_head},
    {"h.{L}.self_attention.dense", "blk.{L}.attn_output"},
    {"h.{L}.post_attention_layernorm", "blk.{L}.ffn_norm"},
    {"h.{L}.mlp.dense_h_to_4h", "blk.{L}.ffn_up"},
    {"h.{L}.mlp.dense_4h_to_h", "blk.{L}.ffn_down"},
    {"ln_f", "output_norm"},
    {"lm_head", "output", copy_tensor, Need::optional},
};

constexpr VocabularyKind kVocabulary[] = {VocabularyKind::byte_level_bpe};

// Published models say n_embed and num_attention_heads.
constexpr ConfigDefaults kDefaults[] = {{
    .model_type = "bloom",
    .values = R"({"$aliases": {"n_embed": "hidden_size", "num_hidden_layers": "n_layer",
                               "num_attention_heads": "n_head"},
                  "layer_norm_epsilon": 1e-5})",
    .kv_heads_from_heads = false,
    .rope_theta = 0,
}};

void add_metadata(const ModelContext& model, MetadataWriter& out) {
  const ModelConfig& config = model.config.values;
  const std::uint64_t width = config.hidden_size();
  // Positions are ALiBi's: where no length is given, the converter writes the width.
  out.u32("context_length", config.find_count({"seq_length"}).value_or(width));
  out.u32("embedding_length", width);
  out.u32("feed_forward_length", 4 * width);
  out.u32("block_count", model.layers);
  out.u32("attention.head_count", config.heads());
  out.u32("attention.head_count_kv", config.heads());
  out.f32("attention.layer_norm_epsilon", config.number({"layer_norm_epsilon"}));
  add_file_type(out);
}

constexpr ModelClass bloom_class(std::string_view name) {
  return {
      .name = name,
      .architecture = "bloom",
      .tensors = kTensors,
      .metadata = add_metadata,
      .vocabulary = kVocabulary,
      .defaults = kDefaults,
      .prefix = "transformer.",
  };
}

constexpr ModelClass kRows[] = {bloom_class("BloomForCausalLM"), bloom_class("BloomModel")};

}  // namespace

std::span<const ModelClass> bloom_classes() { return kRows; }

}  // namespace qwodel
