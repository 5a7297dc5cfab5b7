// BERT, RoBERTa and DistilBERT: encoders for embeddings and classification.
#include <algorithm>
#include <charconv>
#include <string>
#include <utility>
#include <vector>

#include "io/json.h"
#include "models/families.h"
#include "models/metadata.h"
#include "models/transforms.h"

namespace qwodel {
namespace {

// The names of the classes, by number. Two with their default names are what transformers fills in
// for a model without classes.
std::vector<std::string> class_labels(const ModelConfig& config) {
  std::vector<std::pair<std::uint64_t, std::string>> labels;
  const Json* given = config.find({"id2label"});
  if (given == nullptr || !given->is_object()) return {};
  for (const auto& [key, value] : given->items()) {
    std::uint64_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || !value.is_string()) return {};
    labels.emplace_back(id, value.get<std::string>());
  }
  std::sort(labels.begin(), labels.end());
  std::vector<std::string> names;
  for (auto& [id, name] : labels) names.push_back(std::move(name));
  if (names.size() == 2 && names[0] == "LABEL_0") names.clear();
  return names;
}

// A head that is one matrix is the output of the classifier if there are classes.
void name_classifier(const ModelContext& model, const RuleMatch& match,
                     std::vector<ModelTensor>& out) {
  copy_tensor(model, match, out);
  if (!class_labels(model.config.values).empty()) out.back().name.insert(3, ".output");
}

constexpr std::string_view kRobertaPrefix = "roberta.";

// RoBERTa counts positions from the padding id on: the rows up to it are never used.
std::uint64_t first_position(const ModelContext& model) {
  if (model.row.prefix != kRobertaPrefix) return 0;
  const auto padding = model.config.values.find_count({"pad_token_id"});
  return padding ? *padding + 1 : 0;
}

void cut_positions(const ModelContext& model, const RuleMatch& match,
                   std::vector<ModelTensor>& out) {
  const std::uint64_t first = first_position(model);
  const auto& shape = match.tensor.shape;
  if (shape.size() != 2 || shape[0] <= first) {
    throw_bad_shape(match, "a matrix with more rows than pad_token_id + 1");
  }
  out.push_back(tensor_of(match.name, slice(whole_view(match), 0, first, shape[0] - first)));
}

// Old checkpoints call weight and bias of a normalization gamma and beta.
constexpr TensorRule kBertTensors[] = {
    {"embeddings.word_embeddings", "token_embd"},
    {"embeddings.position_embeddings", "position_embd", cut_positions},
    {"embeddings.token_type_embeddings", "token_types"},
    {"embeddings.LayerNorm", "token_embd_norm"},
    {"embeddings.LayerNorm.gamma", "token_embd_norm.weight", copy_tensor, Need::optional},
    {"embeddings.LayerNorm.beta", "token_embd_norm.bias", copy_tensor, Need::optional},
    {"encoder.layer.{L}.attention.self.query", "blk.{L}.attn_q"},
    {"encoder.layer.{L}.attention.self.key", "blk.{L}.attn_k"},
    {"encoder.layer.{L}.attention.self.value", "blk.{L}.attn_v"},
    {"encoder.layer.{L}.attention.output.dense", "blk.{L}.attn_output"},
    {"encoder.layer.{L}.attention.output.LayerNorm", "blk.{L}.attn_output_norm"},
    {"encoder.layer.{L}.attention.output.LayerNorm.gamma", "blk.{L}.attn_output_norm.weight",
     copy_tensor, Need::optional},
    {"encoder.layer.{L}.attention.output.LayerNorm.beta", "blk.{L}.attn_output_norm.bias",
     copy_tensor, Need::optional},
    {"encoder.layer.{L}.intermediate.dense", "blk.{L}.ffn_up"},
    {"encoder.layer.{L}.output.dense", "blk.{L}.ffn_down"},
    {"encoder.layer.{L}.output.LayerNorm", "blk.{L}.layer_output_norm"},
    {"encoder.layer.{L}.output.LayerNorm.gamma", "blk.{L}.layer_output_norm.weight", copy_tensor,
     Need::optional},
    {"encoder.layer.{L}.output.LayerNorm.beta", "blk.{L}.layer_output_norm.bias", copy_tensor,
     Need::optional},
    {"classifier", "cls", name_classifier, Need::optional},
    {"classifier.dense", "cls", copy_tensor, Need::optional},
    {"classifier.out_proj", "cls.output", copy_tensor, Need::optional},
};

constexpr TensorRule kDistilBertTensors[] = {
    {"embeddings.word_embeddings", "token_embd"},
    {"embeddings.position_embeddings", "position_embd"},
    {"embeddings.LayerNorm", "token_embd_norm"},
    {"transformer.layer.{L}.attention.q_lin", "blk.{L}.attn_q"},
    {"transformer.layer.{L}.attention.k_lin", "blk.{L}.attn_k"},
    {"transformer.layer.{L}.attention.v_lin", "blk.{L}.attn_v"},
    {"transformer.layer.{L}.attention.out_lin", "blk.{L}.attn_output"},
    {"transformer.layer.{L}.sa_layer_norm", "blk.{L}.attn_output_norm"},
    {"transformer.layer.{L}.ffn.lin1", "blk.{L}.ffn_up"},
    {"transformer.layer.{L}.ffn.lin2", "blk.{L}.ffn_down"},
    {"transformer.layer.{L}.output_layer_norm", "blk.{L}.layer_output_norm"},
    {"pre_classifier", "cls", copy_tensor, Need::optional},
    {"classifier", "cls", name_classifier, Need::optional},
};

// Pooling and the heads of pretraining are not part of an encoder.
bool is_not_encoder(const ModelContext&, std::string_view name) {
  return name == "embeddings.position_ids" || name.starts_with("pooler.dense.") ||
         name.starts_with("cls.predictions") || name.starts_with("cls.seq_relationship") ||
         name.starts_with("lm_head.") || name.starts_with("vocab_");
}

constexpr VocabularyKind kWordPiece[] = {VocabularyKind::wordpiece};
constexpr VocabularyKind kRobertaVocabulary[] = {VocabularyKind::byte_level_bpe};

constexpr ConfigDefaults kBertDefaults[] = {{
    .model_type = "bert",
    .values = R"({"vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2,
                  "layer_norm_eps": 1e-12, "pad_token_id": 0})",
    .kv_heads_from_heads = false,
    .rope_theta = 0,
}};
constexpr ConfigDefaults kRobertaDefaults[] = {{
    .model_type = "roberta",
    .values = R"({"vocab_size": 50265, "max_position_embeddings": 512, "type_vocab_size": 2,
                  "layer_norm_eps": 1e-12, "pad_token_id": 1})",
    .kv_heads_from_heads = false,
    .rope_theta = 0,
}};
constexpr ConfigDefaults kDistilBertDefaults[] = {{
    .model_type = "distilbert",
    .values = R"({"$aliases": {"hidden_size": "dim", "num_attention_heads": "n_heads",
                               "num_hidden_layers": "n_layers"},
                  "vocab_size": 30522, "max_position_embeddings": 512, "n_layers": 6,
                  "n_heads": 12, "dim": 768, "hidden_dim": 3072})",
    .kv_heads_from_heads = false,
    .rope_theta = 0,
}};

void add_bert_metadata(const ModelContext& model, MetadataWriter& out) {
  add_common_metadata(model, out);
  if (const std::uint64_t first = first_position(model); first != 0) {
    const std::uint64_t length = model.config.values.count({"max_position_embeddings"});
    out.u32("context_length", length > first ? length - first : 0);
  }
  out.flag("attention.causal", false);
  add_pooling_type(model, out);
  out.array("classifier.output_labels", class_labels(model.config.values));
}

void add_distilbert_metadata(const ModelContext& model, MetadataWriter& out) {
  out.f32("attention.layer_norm_epsilon", 1e-12);
  add_bert_metadata(model, out);
}

void add_token_types(const ModelContext& model, MetadataWriter& out) {
  out.all().set_u32("tokenizer.ggml.token_type_count",
                    model.config.values.find_count({"type_vocab_size"}).value_or(1));
}

void add_token_types_after(const ModelContext& model, VocabularyKind, MetadataWriter& out) {
  add_token_types(model, out);
}

constexpr ModelClass bert_class(std::string_view name) {
  return {
      .name = name,
      .architecture = "bert",
      .tensors = kBertTensors,
      .metadata = add_bert_metadata,
      .vocabulary = kWordPiece,
      .defaults = kBertDefaults,
      .prefix = "bert.",
      .drop = is_not_encoder,
      .before_vocabulary = add_token_types,
  };
}

constexpr ModelClass roberta_class(std::string_view name) {
  ModelClass row = bert_class(name);
  row.vocabulary = kRobertaVocabulary;
  row.defaults = kRobertaDefaults;
  row.prefix = kRobertaPrefix;
  row.before_vocabulary = nullptr;
  row.after_vocabulary = add_token_types_after;
  return row;
}

constexpr ModelClass distilbert_class(std::string_view name) {
  ModelClass row = bert_class(name);
  row.tensors = kDistilBertTensors;
  row.metadata = add_distilbert_metadata;
  row.defaults = kDistilBertDefaults;
  row.prefix = "distilbert.";
  return row;
}

constexpr ModelClass kRows[] = {
    bert_class("BertModel"),
    bert_class("BertForMaskedLM"),
    bert_class("BertForSequenceClassification"),
    roberta_class("RobertaModel"),
    roberta_class("RobertaForSequenceClassification"),
    distilbert_class("DistilBertModel"),
    distilbert_class("DistilBertForMaskedLM"),
    distilbert_class("DistilBertForSequenceClassification"),
};

}  // namespace

std::span<const ModelClass> bert_classes() { return kRows; }

}  // namespace qwodel
