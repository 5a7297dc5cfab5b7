// Gemma 1, 2 and the text part of Gemma 3.
#include <algorithm>

#include "io/json.h"
#include "models/families.h"
#include "models/metadata.h"
#include "models/transforms.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr TensorRule kGemmaTensors[] = {
    {"embed_tokens", "token_embd"},
    {"norm", "output_norm", plus_one},
    {"layers.{L}.input_layernorm", "blk.{L}.attn_norm", plus_one},
    {"layers.{L}.self_attn.q_proj", "blk.{L}.attn_q"},
    {"layers.{L}.self_attn.k_proj", "blk.{L}.attn_k"},
    {"layers.{L}.self_attn.v_proj", "blk.{L}.attn_v"},
    {"layers.{L}.self_attn.o_proj", "blk.{L}.attn_output"},
    {"layers.{L}.post_attention_layernorm", "blk.{L}.ffn_norm", plus_one},
    {"layers.{L}.mlp.gate_proj", "blk.{L}.ffn_gate"},
    {"layers.{L}.mlp.up_proj", "blk.{L}.ffn_up"},
    {"layers.{L}.mlp.down_proj", "blk.{L}.ffn_down"},
};

constexpr TensorRule kGemma2Tensors[] = {
    {"embed_tokens", "token_embd"},
    {"norm", "output_norm", plus_one},
    {"layers.{L}.input_layernorm", "blk.{L}.attn_norm", plus_one},
    {"layers.{L}.self_attn.q_proj", "blk.{L}.attn_q"},
    {"layers.{L}.self_attn.k_proj", "blk.{L}.attn_k"},
    {"layers.{L}.self_attn.v_proj", "blk.{L}.attn_v"},
    {"layers.{L}.self_attn.o_proj", "blk.{L}.attn_output"},
    {"layers.{L}.post_attention_layernorm", "blk.{L}.post_attention_norm", plus_one},
    {"layers.{L}.pre_feedforward_layernorm", "blk.{L}.ffn_norm", plus_one},
    {"layers.{L}.post_feedforward_layernorm", "blk.{L}.post_ffw_norm", plus_one},
    {"layers.{L}.mlp.gate_proj", "blk.{L}.ffn_gate"},
    {"layers.{L}.mlp.up_proj", "blk.{L}.ffn_up"},
    {"layers.{L}.mlp.down_proj", "blk.{L}.ffn_down"},
};

// Tokens of tokenizer.json, as the converter counts them.
std::uint64_t tokens_of_json(const std::filesystem::path& path) {
  const Json tokenizer = read_json(path);
  const Json* model = find_member(tokenizer, "model");
  const Json* vocabulary = model == nullptr ? nullptr : find_member(*model, "vocab");
  const Json* added = find_member(tokenizer, "added_tokens");
  if (vocabulary == nullptr || added == nullptr) {
    throw ValidationError({.where = path.string(),
                           .found = "no model.vocab or no added_tokens",
                           .expected = "both",
                           .remedy = {}});
  }
  return vocabulary->size() + added->size();
}

// Rows beyond the vocabulary are padding of the training run.
void embedding_rows(const ModelContext& model, const RuleMatch& match,
                    std::vector<ModelTensor>& out) {
  if (match.tensor.shape.size() != 2) throw_bad_shape(match, "a matrix");
  std::uint64_t rows = match.tensor.shape[0];
  std::error_code ignored;
  if (std::filesystem::is_regular_file(model.directory / "tokenizer.model", ignored)) {
    rows = std::min(rows, model.config.values.size({"vocab_size"}));
  } else {
    rows = std::min(rows, tokens_of_json(model.directory / "tokenizer.json"));
  }
  out.push_back(tensor_of(match.name, slice(whole_view(match), 0, 0, rows)));
}

constexpr TensorRule kGemma3Tensors[] = {
    {"embed_tokens", "token_embd", embedding_rows},
    {"norm", "output_norm", plus_one},
    {.hf = "lm_head", .gguf = "output", .need = Need::optional},
    {"layers.{L}.input_layernorm", "blk.{L}.attn_norm", plus_one},
    {"layers.{L}.self_attn.q_proj", "blk.{L}.attn_q"},
    {"layers.{L}.self_attn.q_norm", "blk.{L}.attn_q_norm", plus_one},
    {"layers.{L}.self_attn.k_proj", "blk.{L}.attn_k"},
    {"layers.{L}.self_attn.k_norm", "blk.{L}.attn_k_norm", plus_one},
    {"layers.{L}.self_attn.v_proj", "blk.{L}.attn_v"},
    {"layers.{L}.self_attn.o_proj", "blk.{L}.attn_output"},
    {"layers.{L}.post_attention_layernorm", "blk.{L}.post_attention_norm", plus_one},
    {"layers.{L}.pre_feedforward_layernorm", "blk.{L}.ffn_norm", plus_one},
    {"layers.{L}.post_feedforward_layernorm", "blk.{L}.post_ffw_norm", plus_one},
    {"layers.{L}.mlp.gate_proj", "blk.{L}.ffn_gate"},
    {"layers.{L}.mlp.up_proj", "blk.{L}.ffn_up"},
    {"layers.{L}.mlp.down_proj", "blk.{L}.ffn_down"},
};

constexpr VocabularyKind kSentencePiece[] = {VocabularyKind::sentencepiece};
constexpr VocabularyKind kGemma3Vocabulary[] = {VocabularyKind::sentencepiece,
                                                VocabularyKind::byte_level_bpe};

// The head is the embedding; some quantizing tools store it all the same.
constexpr std::string_view kTiedHead[] = {"lm_head.weight"};

constexpr ConfigDefaults kGemmaDefaults[] = {
    {.model_type = "gemma",
     .values = R"({"vocab_size": 256000, "hidden_size": 3072, "intermediate_size": 24576,
                   "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 16,
                   "head_dim": 256, "max_position_embeddings": 8192, "rms_norm_eps": 1e-6})",
     .kv_heads_from_heads = false},
};
constexpr ConfigDefaults kGemma2Defaults[] = {
    {.model_type = "gemma2",
     .values = R"({"vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216,
                   "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4,
                   "head_dim": 256, "max_position_embeddings": 8192, "rms_norm_eps": 1e-6,
                   "sliding_window": 4096, "query_pre_attn_scalar": 256,
                   "final_logit_softcapping": 30.0,
                   "attn_logit_softcapping": 50.0})",
     .kv_heads_from_heads = false},
};
constexpr ConfigDefaults gemma3_defaults(std::string_view model_type) {
  return {.model_type = model_type,
          .values =
              R"({"vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216,
                  "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4,
                  "head_dim": 256, "max_position_embeddings": 131072, "rms_norm_eps": 1e-6,
                  "sliding_window": 4096, "query_pre_attn_scalar": 256})",
          .kv_heads_from_heads = false,
          .rope_theta = 1000000.0,
          .local_rope_theta = 10000.0};
}
constexpr ConfigDefaults kGemma3Defaults[] = {gemma3_defaults("gemma3_text"),
                                              gemma3_defaults("gemma3")};

void add_gemma_metadata(const ModelContext& model, MetadataWriter& out) {
  const ModelConfig& config = model.config.values;
  out.u32("context_length", config.count({"max_position_embeddings"}));
  out.u32("embedding_length", config.size({"hidden_size"}));
  out.u32("block_count", model.layers);
  out.u32("feed_forward_length", config.count({"intermediate_size"}));
  out.u32("attention.head_count", config.heads());
  out.u32("attention.head_count_kv", config.kv_heads());
  out.f32("attention.layer_norm_rms_epsilon", config.number({"rms_norm_eps"}));
  out.u32("attention.key_length", config.count({"head_dim"}));
  out.u32("attention.value_length", config.count({"head_dim"}));
  add_file_type(out);
}

void add_gemma2_metadata(const ModelContext& model, MetadataWriter& out) {
  add_gemma_metadata(model, out);
  const ModelConfig& config = model.config.values;
  out.f32("attn_logit_softcapping", config.number({"attn_logit_softcapping"}));
  out.f32("final_logit_softcapping", config.number({"final_logit_softcapping"}));
  out.u32("attention.sliding_window", config.count({"sliding_window"}));
}

void add_gemma3_metadata(const ModelContext& model, MetadataWriter& out) {
  add_common_metadata(model, out);
  const ModelConfig& config = model.config.values;
  out.u32("context_length", config.find_count({"max_position_embeddings"}).value_or(131072));
  out.u32("attention.head_count", config.find_count({"num_attention_heads"}).value_or(8));
  out.f32("attention.layer_norm_rms_epsilon", config.find_number({"rms_norm_eps"}).value_or(1e-6));
  const std::uint64_t head_dim = config.find_count({"head_dim"}).value_or(256);
  out.u32("attention.key_length", head_dim);
  out.u32("attention.value_length", head_dim);
  out.f32("rope.freq_base", model.config.full_rope.find_number({"rope_theta"}).value_or(1000000.0));
  const double cap = config.find_number({"final_logit_softcapping"}).value_or(0);
  if (cap != 0) out.f32("final_logit_softcapping", cap);
  if (config.find_count({"sliding_window_pattern"}) != 1) {
    out.u32("attention.sliding_window", config.count({"sliding_window"}));
  }
  out.u32("attention.head_count_kv", config.find_count({"num_key_value_heads"}).value_or(4));
}

void set_no_space_prefix(MetadataWriter& out) {
  out.all().set_bool("tokenizer.ggml.add_space_prefix", false);
}

// The end-of-turn id of every Gemma 1 and CodeGemma vocabulary.
void after_gemma_vocabulary(const ModelContext&, VocabularyKind, MetadataWriter& out) {
  out.all().set_u32("tokenizer.ggml.eot_token_id", 107);
  set_no_space_prefix(out);
}

void after_gemma2_vocabulary(const ModelContext&, VocabularyKind kind, MetadataWriter& out) {
  if (kind == VocabularyKind::sentencepiece) set_no_space_prefix(out);
}

constexpr ModelClass gemma3_row(std::string_view name) {
  return {.name = name,
          .architecture = "gemma3",
          .tensors = kGemma3Tensors,
          .metadata = add_gemma3_metadata,
          .vocabulary = kGemma3Vocabulary,
          .defaults = kGemma3Defaults,
          .after_vocabulary = after_gemma2_vocabulary};
}

constexpr ModelClass kRows[] = {
    {.name = "GemmaForCausalLM",
     .architecture = "gemma",
     .tensors = kGemmaTensors,
     .metadata = add_gemma_metadata,
     .vocabulary = kSentencePiece,
     .defaults = kGemmaDefaults,
     .dropped = kTiedHead,
     .after_vocabulary = after_gemma_vocabulary},
    {.name = "Gemma2ForCausalLM",
     .architecture = "gemma2",
     .tensors = kGemma2Tensors,
     .metadata = add_gemma2_metadata,
     .vocabulary = kSentencePiece,
     .defaults = kGemma2Defaults,
     .dropped = kTiedHead,
     .after_vocabulary = after_gemma2_vocabulary},
    gemma3_row("Gemma3ForCausalLM"),
    gemma3_row("Gemma3ForConditionalGeneration"),
};

}  // namespace

std::span<const ModelClass> gemma_classes() { return kRows; }

}  // namespace qwodel
