// InternLM2: Llama with query, key and value in one grouped projection. transformers does not know
// the class: config.json is read as it is.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "models/families.h"
#include "models/grouped_qkv.h"
#include "models/metadata.h"
#include "models/transforms.h"
#include "tokenizer/sentencepiece_model.h"

namespace qwodel {
namespace {

// One projection becomes attn_q, attn_k and attn_v, the first two with interleaved rotary rows.
void split_wqkv(const ModelContext& model, const RuleMatch& match, std::vector<ModelTensor>& out) {
  const ModelConfig& config = model.config.values;
  if (match.tensor.shape.size() != 2) throw_bad_shape(match, "a matrix");
  const GroupedQkv views = split_grouped_qkv(match, config.heads(), config.kv_heads());
  const auto add = [&](char letter, TensorView view) {
    const std::uint64_t rows = view.shape[0] * view.shape[1] * view.shape[2];
    ModelTensor tensor{
        .name = match.name, .shape = {rows, match.tensor.shape[1]}, .parts = {}, .generated = {}};
    tensor.name[tensor.name.find("attn_q") + 5] = letter;
    tensor.parts.push_back(letter == 'v' ? std::move(view)
                                         : interleave_rotary_rows(match, std::move(view)));
    out.push_back(std::move(tensor));
  };
  add('q', views.q);
  add('k', views.k);
  add('v', views.v);
}

constexpr TensorRule kTensors[] = {
    {"tok_embeddings", "token_embd"},
    {"layers.{L}.attention_norm", "blk.{L}.attn_norm"},
    {"layers.{L}.attention.wqkv", "blk.{L}.attn_q", split_wqkv},
    {"layers.{L}.attention.wo", "blk.{L}.attn_output"},
    {"layers.{L}.ffn_norm", "blk.{L}.ffn_norm"},
    {"layers.{L}.feed_forward.w1", "blk.{L}.ffn_gate"},
    {"layers.{L}.feed_forward.w2", "blk.{L}.ffn_down"},
    {"layers.{L}.feed_forward.w3", "blk.{L}.ffn_up"},
    {"norm", "output_norm"},
    {"output", "output", copy_tensor, Need::optional},
};

constexpr VocabularyKind kVocabulary[] = {VocabularyKind::sentencepiece};

constexpr std::int32_t kNormalToken = 1;
constexpr std::int32_t kUnusedToken = 5;

// The runtime ends a token at NUL: the piece of that byte gets a text of its own. Reserved pieces
// are no text at all. A chat model stops at the end of a message.
void repair_tokens(GgufMetadata& metadata) {
  const GgufValue* texts = metadata.find("tokenizer.ggml.tokens");
  const GgufValue* kinds = metadata.find("tokenizer.ggml.token_type");
  if (texts == nullptr || kinds == nullptr) return;
  auto tokens = std::get<std::vector<std::string>>(std::get<GgufArray>(*texts));
  auto types = std::get<std::vector<std::int32_t>>(std::get<GgufArray>(*kinds));
  for (std::size_t id = 0; id < std::min(tokens.size(), types.size()); ++id) {
    if (tokens[id] == std::string_view("\0", 1)) tokens[id] = "\U0001F409";
    const bool normal = types[id] == kNormalToken;
    if (normal && tokens[id].starts_with("[UNUSED")) types[id] = kUnusedToken;
    if (!normal && tokens[id] == "<|im_end|>") {
      metadata.set_u32("tokenizer.ggml.eos_token_id", id);
    }
  }
  metadata.set_array("tokenizer.ggml.tokens", std::move(tokens));
  metadata.set_array("tokenizer.ggml.token_type", std::move(types));
}

// Sets a key right after another one.
void set_after(GgufMetadata& metadata, std::string_view place, std::string_view key,
               GgufValue value) {
  const auto entries = metadata.entries();
  auto next = std::find_if(entries.begin(), entries.end(),
                           [&](const auto& entry) { return entry.first == place; });
  if (next != entries.end()) ++next;
  for (auto entry = next; entry != entries.end(); ++entry) metadata.erase(entry->first);
  metadata.set(key, std::move(value));
  for (auto entry = next; entry != entries.end(); ++entry) {
    if (entry->first != key) metadata.set(entry->first, entry->second);
  }
}

void after_vocabulary(const ModelContext& model, VocabularyKind, MetadataWriter& out) {
  repair_tokens(out.all());
  const SentencePieceModel pieces = read_sentencepiece(model.directory / "tokenizer.model");
  set_after(out.all(), "tokenizer.ggml.token_type", "tokenizer.ggml.add_space_prefix",
            GgufValue(GgufBool{pieces.add_dummy_prefix}));
}

constexpr ModelClass kRows[] = {{
    .name = "InternLM2ForCausalLM",
    .architecture = "internlm2",
    .tensors = kTensors,
    .metadata = add_common_metadata,
    .vocabulary = kVocabulary,
    .added_tokens = AddedTokenRule::as_declared,
    .after_vocabulary = after_vocabulary,
}};

}  // namespace

std::span<const ModelClass> internlm2_classes() { return kRows; }

}  // namespace qwodel
