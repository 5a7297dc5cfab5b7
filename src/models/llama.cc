#include "models/llama.h"

#include "io/json.h"
#include "models/metadata.h"
#include "models/rope.h"
#include "models/transforms.h"

namespace qwodel {
namespace {

constexpr TensorRule kMixtralTensors[] = {
    {"embed_tokens", "token_embd"},
    {"norm", "output_norm"},
    {.hf = "lm_head", .gguf = "output", .need = Need::optional},
    {"layers.{L}.input_layernorm", "blk.{L}.attn_norm"},
    {"layers.{L}.self_attn.q_proj", "blk.{L}.attn_q", rotary_q},
    {"layers.{L}.self_attn.k_proj", "blk.{L}.attn_k", rotary_k},
    {"layers.{L}.self_attn.v_proj", "blk.{L}.attn_v"},
    {"layers.{L}.self_attn.o_proj", "blk.{L}.attn_output"},
    {"layers.{L}.post_attention_layernorm", "blk.{L}.ffn_norm"},
    {"layers.{L}.block_sparse_moe.gate", "blk.{L}.ffn_gate_inp"},
    {.hf = "layers.{L}.block_sparse_moe.experts.{E}.w1",
     .gguf = "blk.{L}.ffn_gate_exps",
     .stack = Stack::experts},
    {.hf = "layers.{L}.block_sparse_moe.experts.{E}.w2",
     .gguf = "blk.{L}.ffn_down_exps",
     .stack = Stack::experts},
    {.hf = "layers.{L}.block_sparse_moe.experts.{E}.w3",
     .gguf = "blk.{L}.ffn_up_exps",
     .stack = Stack::experts},
};

constexpr VocabularyKind kVocabulary[] = {VocabularyKind::sentencepiece,
                                          VocabularyKind::byte_fallback_bpe,
                                          VocabularyKind::byte_level_bpe};

constexpr ConfigDefaults kLlamaDefaults[] = {
    {.model_type = "llama",
     .values = R"({"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
                   "num_hidden_layers": 32, "num_attention_heads": 32,
                   "max_position_embeddings": 2048, "rms_norm_eps": 1e-6})",
     .head_dim_from_width = true},
};

constexpr ConfigDefaults kMistralDefaults[] = {
    {.model_type = "mistral",
     .values = R"({"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
                   "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
                   "max_position_embeddings": 131072, "rms_norm_eps": 1e-6,
                   "sliding_window": 4096})",
     .head_dim_from_width = true},
};

constexpr ConfigDefaults kMixtralDefaults[] = {
    {.model_type = "mixtral",
     .values = R"({"$aliases": {"num_experts": "num_local_experts"},
                   "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
                   "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
                   "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
                   "num_experts_per_tok": 2, "num_local_experts": 8})",
     .rope_theta = 1000000.0},
};

constexpr ConfigDefaults kSmolLm3Defaults[] = {
    {.model_type = "smollm3",
     .values = R"({"vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 11008,
                   "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 4,
                   "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
                   "use_sliding_window": false})",
     .rope_theta = 2000000.0},
};

constexpr std::string_view kTextModel[] = {"text_model."};

constexpr ModelClass llama_row(std::string_view name, std::string_view architecture,
                               std::span<const TensorRule> tensors,
                               std::span<const ConfigDefaults> defaults) {
  return {.name = name,
          .architecture = architecture,
          .tensors = tensors,
          .metadata = add_llama_metadata,
          .vocabulary = kVocabulary,
          .defaults = defaults,
          .strip = kTextModel,
          .generate = add_llama3_factors,
          .before_vocabulary = add_llama_space_prefix,
          .after_vocabulary = add_llama_special_tokens};
}

constexpr ModelClass kRows[] = {
    llama_row("LlamaForCausalLM", "llama", kLlamaTensors, kLlamaDefaults),
    llama_row("LLaMAForCausalLM", "llama", kLlamaTensors, kLlamaDefaults),
    llama_row("LlamaModel", "llama", kLlamaTensors, kLlamaDefaults),
    llama_row("IQuestCoderForCausalLM", "llama", kLlamaTensors, {}),
    llama_row("MistralForCausalLM", "llama", kLlamaTensors, kMistralDefaults),
    llama_row("MixtralForCausalLM", "llama", kMixtralTensors, kMixtralDefaults),
    llama_row("LlavaForConditionalGeneration", "llama", kLlamaTensors, {}),
    llama_row("SmolLM3ForCausalLM", "smollm3", kLlamaTensors, kSmolLm3Defaults),
};

// CodeLlama's end of an infill has a fixed id; Granite's code models want no token at the start.
constexpr std::uint64_t kCodeLlamaVocabulary = 32016;
constexpr std::uint64_t kGraniteCodeVocabulary = 49152;

}  // namespace

std::span<const ModelClass> llama_classes() { return kRows; }

void add_llama_metadata(const ModelContext& model, MetadataWriter& out) {
  add_common_metadata(model, out);
  out.u32("vocab_size", model.config.values.count({"vocab_size"}));
  out.u32("rope.dimension_count", model.config.values.head_dim());
}

void add_llama_space_prefix(const ModelContext& model, MetadataWriter& out) {
  const auto path = model.directory / "tokenizer_config.json";
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return;
  const ModelConfig settings(read_json(path));
  if (settings.has("add_prefix_space")) {
    out.all().set_bool("tokenizer.ggml.add_space_prefix", settings.flag("add_prefix_space", false));
  }
}

void add_llama_special_tokens(const ModelContext& model, VocabularyKind, MetadataWriter& out) {
  const std::uint64_t size = model.config.values.find_count({"vocab_size"}).value_or(32000);
  if (size == kCodeLlamaVocabulary) out.all().set_u32("tokenizer.ggml.eot_token_id", 32010);
  if (size == kGraniteCodeVocabulary) out.all().set_bool("tokenizer.ggml.add_bos_token", false);
}

}  // namespace qwodel
