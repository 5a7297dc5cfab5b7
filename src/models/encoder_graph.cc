#include "models/encoder_graph.h"

#include <fmt/format.h>

#include <string>

namespace qwodel {
namespace {

constexpr DecoderTraits kBert = {.architecture = "bert",
                                 .norm = NormKind::layer,
                                 .activation = ActivationKind::gelu_erf,
                                 .positions = Positions::learned};

ValueId add_norm(GraphBuilder& graph, const DecoderSettings& model, ValueId x,
                 const std::string& module) {
  graph.require(module + ".weight");
  return graph.norm(x, module, NormKind::layer, model.norm_epsilon);
}

void add_embedding(GraphBuilder& graph, const DecoderSettings& model) {
  graph.begin_stage("embedding", 0);
  const WeightId table = graph.weight("token_embd.weight", {model.vocab_size, model.hidden_size});
  ValueId x = graph.add_op(EmbeddingOp{table}, {}, model.hidden_size);
  // DistilBERT has no segments.
  if (const ModelTensor* segments = graph.find("token_types.weight")) {
    const std::uint64_t rows = segments->shape.size() == 1 ? 1 : segments->shape.front();
    const WeightId weight = graph.weight(segments->name, {rows, model.hidden_size});
    x = graph.add_op(SegmentEmbeddingOp{weight}, {x}, model.hidden_size);
  }
  const ModelTensor& positions = graph.require("position_embd.weight");
  const WeightId weight =
      graph.weight(positions.name, {positions.shape.front(), model.hidden_size});
  x = graph.add_op(PositionEmbeddingOp{weight}, {x}, model.hidden_size);
  graph.end_stage(add_norm(graph, model, x, "token_embd_norm"));
}

ValueId add_attention(GraphBuilder& graph, const DecoderSettings& model, const std::string& block,
                      ValueId x) {
  const ValueId q = graph.linear(x, block + "attn_q");
  const ValueId k = graph.linear(x, block + "attn_k");
  const ValueId v = graph.linear(x, block + "attn_v");
  const AttentionOp attention{.heads = model.heads,
                              .kv_heads = model.kv_heads,
                              .key_dim = model.key_dim,
                              .value_dim = model.value_dim,
                              .scale = model.attention_scale,
                              .causal = model.causal,
                              .alibi_slopes = {}};
  const ValueId out = graph.add_op(attention, {q, k, v}, model.heads * model.value_dim);
  return graph.linear(out, block + "attn_output");
}

void add_layer(GraphBuilder& graph, const DecoderSettings& model, std::uint64_t layer) {
  const std::string block = block_name(layer);
  ValueId x = graph.begin_stage(fmt::format("layer {}", layer), model.hidden_size);
  x = graph.add(x, add_attention(graph, model, block, x));
  x = add_norm(graph, model, x, block + "attn_output_norm");
  ValueId inner = graph.linear(x, block + "ffn_up");
  inner = graph.add_op(ActivationOp{model.activation}, {inner}, graph.width(inner));
  x = graph.add(x, graph.linear(inner, block + "ffn_down"));
  graph.end_stage(add_norm(graph, model, x, block + "layer_output_norm"));
}

}  // namespace

const DecoderTraits* find_encoder_traits(std::string_view architecture) {
  return architecture == kBert.architecture ? &kBert : nullptr;
}

void add_encoder(GraphBuilder& graph, const DecoderSettings& model) {
  add_embedding(graph, model);
  for (std::uint64_t layer = 0; layer < model.layers; ++layer) add_layer(graph, model, layer);
}

}  // namespace qwodel
