// InternLM2: Llama with query, key and value in one grouped projection. transformers does not know
// the class: config.json is read as it is.
#include <utility>

#include "models/families.h"
#include "models/grouped_qkv.h"
#include "models/metadata.h"
#include "models/transforms.h"

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

constexpr ModelClass kRows[] = {{
    .name = "InternLM2ForCausalLM",
    .architecture = "internlm2",
    .tensors = kTensors,
    .metadata = add_common_metadata,
    .vocabulary = kVocabulary,
}};

}  // namespace

std::span<const ModelClass> internlm2_classes() { return kRows; }

}  // namespace qwodel
