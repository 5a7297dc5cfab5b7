#include "models/decoder_graph.h"

#include <fmt/format.h>

#include <string>

#include "core/checked.h"
#include "formats/tensor_info.h"
#include "models/feed_forward_graph.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

struct Qkv {
  ValueId q;
  ValueId k;
  ValueId v;
};

ValueId add_norm(GraphBuilder& graph, const DecoderSettings& model, ValueId x,
                 const std::string& module) {
  if (model.traits->norms_have_weights) graph.require(module + ".weight");
  return graph.norm(x, module, model.traits->norm, model.norm_epsilon);
}

// The norm if its tensor is there.
ValueId add_optional_norm(GraphBuilder& graph, const DecoderSettings& model, ValueId x,
                          const std::string& module) {
  return graph.has(module + ".weight") ? add_norm(graph, model, x, module) : x;
}

ValueId clamped(GraphBuilder& graph, const DecoderSettings& model, ValueId x) {
  if (model.qkv_limit == 0) return x;
  return graph.add_op(ClampOp{model.qkv_limit}, {x}, graph.width(x));
}

[[noreturn]] void fail_width(const GraphBuilder& graph, const std::string& module,
                             std::uint64_t expected) {
  const ModelTensor& tensor = graph.require(module + ".weight");
  throw ValidationError({.where = tensor.name,
                         .found = "shape " + shape_text(tensor.shape),
                         .expected = fmt::format("{} rows for its heads", expected),
                         .remedy = {}});
}

ValueId project(GraphBuilder& graph, const DecoderSettings& model, const std::string& module,
                std::uint64_t expected, ValueId x) {
  const ValueId y = graph.linear(x, module);
  if (graph.width(y) != expected) fail_width(graph, module, expected);
  return clamped(graph, model, y);
}

// One projection or three.
Qkv add_qkv(GraphBuilder& graph, const DecoderSettings& model, const std::string& block,
            ValueId x) {
  const std::uint64_t q = model.heads * model.key_dim;
  const std::uint64_t k = model.kv_heads * model.key_dim;
  const std::uint64_t v = model.kv_heads * model.value_dim;
  if (graph.has(block + "attn_qkv.weight")) {
    const ValueId qkv = project(graph, model, block + "attn_qkv", q + k + v, x);
    return {graph.slice(qkv, 1, 0, q), graph.slice(qkv, 1, q, k), graph.slice(qkv, 1, q + k, v)};
  }
  return {project(graph, model, block + "attn_q", q, x),
          project(graph, model, block + "attn_k", k, x),
          project(graph, model, block + "attn_v", v, x)};
}

// A norm of queries or keys: of each head when its weight has a head's values (or a row of them
// for each head), else of the whole projection.
ValueId add_head_norm(GraphBuilder& graph, const DecoderSettings& model, const std::string& module,
                      ValueId x) {
  const ModelTensor* weight = graph.find(module + ".weight");
  if (weight == nullptr) return x;
  const bool per_head = weight->shape.back() == model.key_dim;
  return graph.norm(x, module, model.traits->norm, model.norm_epsilon,
                    per_head ? model.key_dim : 0);
}

ValueId add_attention(GraphBuilder& graph, const DecoderSettings& model, std::uint64_t layer,
                      ValueId x) {
  const std::string block = block_name(layer);
  const std::uint64_t window = model.windows[layer];
  auto [q, k, v] = add_qkv(graph, model, block, x);
  q = add_head_norm(graph, model, block + "attn_q_norm", q);
  k = add_head_norm(graph, model, block + "attn_k_norm", k);
  if (model.traits->positions == Positions::rotary && model.rotary_layers[layer]) {
    const RopeOp& rope = window == 0 ? model.rope : model.sliding_rope;
    q = graph.add_op(rope, {q}, graph.width(q));
    k = graph.add_op(rope, {k}, graph.width(k));
  }
  const AttentionOp attention{.heads = model.heads,
                              .kv_heads = model.kv_heads,
                              .key_dim = model.key_dim,
                              .value_dim = model.value_dim,
                              .scale = model.attention_scale,
                              .causal = model.causal,
                              .window = window,
                              .softcap = model.attention_softcap,
                              .alibi_slopes = model.alibi_slopes};
  const ValueId out = graph.add_op(attention, {q, k, v}, model.heads * model.value_dim);
  return graph.linear(out, block + "attn_output");
}

ValueId attend(GraphBuilder& graph, const DecoderSettings& model, std::uint64_t layer, ValueId x) {
  const auto special = model.traits->attention;
  x = special != nullptr ? special(graph, model, layer, x) : add_attention(graph, model, layer, x);
  x = add_optional_norm(graph, model, x, block_name(layer) + "post_attention_norm");
  return graph.scale(x, model.residual_scale);
}

ValueId feed_forward(GraphBuilder& graph, const DecoderSettings& model, std::uint64_t layer,
                     ValueId x) {
  x = add_feed_forward(graph, model, layer, x);
  x = add_optional_norm(graph, model, x, block_name(layer) + "post_ffw_norm");
  return graph.scale(x, model.residual_scale);
}

// A norm before attention or feed-forward. Models with norms after them have none.
ValueId add_input_norm(GraphBuilder& graph, const DecoderSettings& model, ValueId x,
                       const std::string& module, const std::string& norm_after) {
  if (!graph.has(module + ".weight") && graph.has(norm_after + ".weight")) return x;
  return add_norm(graph, model, x, module);
}

// Attention and feed-forward side by side. Each has a norm of its own if there is a second one:
// attn_norm_2 is attention's (Falcon), ffn_norm the feed-forward's (GPT-NeoX).
ValueId add_parallel(GraphBuilder& graph, const DecoderSettings& model, std::uint64_t layer,
                     ValueId x) {
  const std::string block = block_name(layer);
  const ValueId shared = add_norm(graph, model, x, block + "attn_norm");
  const auto own = [&](const std::string& module) {
    return graph.has(module + ".weight") ? add_norm(graph, model, x, module) : shared;
  };
  const ValueId attended = attend(graph, model, layer, own(block + "attn_norm_2"));
  const ValueId fed = feed_forward(graph, model, layer, own(block + "ffn_norm"));
  return graph.add(x, graph.add(attended, fed));
}

ValueId add_sequential(GraphBuilder& graph, const DecoderSettings& model, std::uint64_t layer,
                       ValueId x) {
  const std::string block = block_name(layer);
  ValueId input =
      add_input_norm(graph, model, x, block + "attn_norm", block + "post_attention_norm");
  x = graph.add(x, attend(graph, model, layer, input));
  input = add_input_norm(graph, model, x, block + "ffn_norm", block + "post_ffw_norm");
  return graph.add(x, feed_forward(graph, model, layer, input));
}

void add_embedding(GraphBuilder& graph, const DecoderSettings& model) {
  graph.begin_stage("embedding", 0);
  const WeightId table = graph.weight("token_embd.weight", {model.vocab_size, model.hidden_size});
  ValueId x = graph.add_op(EmbeddingOp{table}, {}, model.hidden_size);
  x = graph.scale(x, model.embedding_scale);
  x = add_optional_norm(graph, model, x, "token_embd_norm");
  if (const ModelTensor* positions = graph.find("position_embd.weight")) {
    const std::uint64_t rows = positions->shape.front();
    const WeightId weight = graph.weight(positions->name, {rows, model.hidden_size});
    x = graph.add_op(PositionEmbeddingOp{weight}, {x}, model.hidden_size);
  } else if (model.traits->positions == Positions::learned) {
    graph.require("position_embd.weight");
  }
  graph.end_stage(x);
}

void add_layer(GraphBuilder& graph, const DecoderSettings& model, std::uint64_t layer) {
  const ValueId x = graph.begin_stage(fmt::format("layer {}", layer), model.hidden_size);
  const bool parallel =
      model.parallel || (model.traits->residual == Residual::parallel_without_norm &&
                         !graph.has(block_name(layer) + "ffn_norm.weight"));
  graph.end_stage(parallel ? add_parallel(graph, model, layer, x)
                           : add_sequential(graph, model, layer, x));
}

// The output matrix is the embedding when there is none of its own.
void add_head(GraphBuilder& graph, const DecoderSettings& model) {
  ValueId x = graph.begin_stage("head", model.hidden_size);
  x = add_norm(graph, model, x, "output_norm");
  const char* module = graph.has("output.weight") ? "output" : "token_embd";
  x = graph.linear(x, module);
  if (graph.width(x) != model.vocab_size) fail_width(graph, module, model.vocab_size);
  x = graph.scale(x, model.logit_factor);
  if (model.logit_softcap != 0) {
    x = graph.add_op(SoftcapOp{model.logit_softcap}, {x}, model.vocab_size);
  }
  graph.end_stage(x);
}

}  // namespace

void add_decoder(GraphBuilder& graph, const DecoderSettings& model) {
  add_embedding(graph, model);
  for (std::uint64_t layer = 0; layer < model.layers; ++layer) add_layer(graph, model, layer);
  add_head(graph, model);
}

}  // namespace qwodel
