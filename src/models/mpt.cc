// MPT.
#include "io/json.h"
#include "models/families.h"
#include "models/metadata.h"

namespace qwodel {
namespace {

constexpr TensorRule kTensors[] = {
    {"wte", "token_embd"},
    {"wpe", "position_embd", copy_tensor, Need::optional},
    {"blocks.{L}.norm_1", "blk.{L}.attn_norm"},
    {"blocks.{L}.attn.Wqkv", "blk.{L}.attn_qkv"},
    {"blocks.{L}.attn.q_ln", "blk.{L}.attn_q_norm", copy_tensor, Need::optional},
    {"blocks.{L}.attn.k_ln", "blk.{L}.attn_k_norm", copy_tensor, Need::optional},
    {"blocks.{L}.attn.out_proj", "blk.{L}.attn_output"},
    {"blocks.{L}.norm_2", "blk.{L}.ffn_norm"},
    {"blocks.{L}.ffn.up_proj", "blk.{L}.ffn_up"},
    {"blocks.{L}.ffn.down_proj", "blk.{L}.ffn_down"},
    {"norm_f", "output_norm"},
    {"lm_head", "output", copy_tensor, Need::optional},
};

// SEA-LION is an MPT with a SentencePiece vocabulary.
constexpr VocabularyKind kVocabulary[] = {VocabularyKind::byte_level_bpe,
                                          VocabularyKind::sentencepiece};

constexpr ConfigDefaults kDefaults[] = {{
    .model_type = "mpt",
    .values = R"({"max_seq_len": 2048})",
    .kv_heads_from_heads = false,
    .rope_theta = 0,
}};

void add_metadata(const ModelContext& model, MetadataWriter& out) {
  const ModelConfig& config = model.config.values;
  const Json* given = config.find({"attn_config"});
  const ModelConfig attention = given != nullptr ? ModelConfig(*given) : ModelConfig();
  const std::uint64_t width = config.size({"d_model"});

  out.u32("context_length", config.count({"max_seq_len"}));
  out.u32("embedding_length", width);
  out.u32("block_count", model.layers);
  out.u32("feed_forward_length", 4 * width);
  out.u32("attention.head_count", config.heads());
  const std::uint64_t kv_heads = attention.find_count({"kv_n_heads"}).value_or(0);
  if (kv_heads != 0) out.u32("attention.head_count_kv", kv_heads);
  out.f32("attention.layer_norm_epsilon", 1e-5);
  if (attention.has("clip_qkv")) out.f32("attention.clamp_kqv", attention.number({"clip_qkv"}));
  const bool alibi = attention.flag("alibi", true);
  out.f32("attention.max_alibi_bias",
          alibi ? attention.find_number({"alibi_bias_max"}).value_or(8) : 0);
}

// The ids that SEA-LION's tokenizer code has built in.
void after_vocabulary(const ModelContext&, VocabularyKind kind, MetadataWriter& out) {
  if (kind != VocabularyKind::sentencepiece) return;
  out.all().set_bool("tokenizer.ggml.add_bos_token", false);
  out.all().set_u32("tokenizer.ggml.padding_token_id", 3);
  out.all().set_u32("tokenizer.ggml.eos_token_id", 1);
  out.all().set_u32("tokenizer.ggml.unknown_token_id", 0);
}

// MPT's own code and transformers spell the class differently.
constexpr ModelClass mpt_class(std::string_view name) {
  return {
      .name = name,
      .architecture = "mpt",
      .tensors = kTensors,
      .metadata = add_metadata,
      .vocabulary = kVocabulary,
      .defaults = kDefaults,
      .prefix = "transformer.",
      .after_vocabulary = after_vocabulary,
  };
}

constexpr ModelClass kRows[] = {mpt_class("MPTForCausalLM"), mpt_class("MptForCausalLM")};

}  // namespace

std::span<const ModelClass> mpt_classes() { return kRows; }

}  // namespace qwodel
