#include "models/latent_attention.h"

#include <cmath>
#include <string>

#include "qwodel/error.h"

namespace qwodel {
namespace {

// The query projection is one matrix, or two with a norm between them.
ValueId query(GraphBuilder& graph, const DecoderSettings& model, const std::string& block,
              ValueId x) {
  if (graph.has(block + "attn_q.weight")) return graph.linear(x, block + "attn_q");
  x = graph.linear(x, block + "attn_q_a");
  graph.require(block + "attn_q_a_norm.weight");
  x = graph.norm(x, block + "attn_q_a_norm", NormKind::rms, model.norm_epsilon);
  return graph.linear(x, block + "attn_q_b");
}

ValueId head_linear(GraphBuilder& graph, ValueId x, const std::string& name, std::uint64_t heads,
                    std::uint64_t out) {
  const std::uint64_t in = graph.width(x) / heads;
  const WeightId weight = graph.weight(name, {heads, out, in});
  return graph.add_op(HeadLinearOp{weight}, {x}, heads * out);
}

void check_widths(const DecoderSettings& model, std::uint64_t query_width, std::uint64_t kv_width) {
  const bool fits =
      model.kv_heads == 1 && model.key_dim == kv_width && model.value_dim < model.key_dim &&
      model.rotary_dim == model.key_dim - model.value_dim &&
      model.full_key_dim > model.rotary_dim && query_width == model.heads * model.full_key_dim;
  if (fits) return;
  throw ValidationError(
      {.where = "deepseek2.attention",
       .found = "key and value lengths that do not fit the projections",
       .expected = "one key-value head whose key is the latent and the rotary part",
       .remedy = "a GGUF made before May 2025 must be converted again"});
}

}  // namespace

ValueId add_latent_attention(GraphBuilder& graph, const DecoderSettings& model, std::uint64_t layer,
                             ValueId x) {
  const std::string block = block_name(layer);
  const std::uint64_t heads = model.heads;
  const std::uint64_t latent = model.value_dim;
  const std::uint64_t rotary = model.rotary_dim;

  ValueId q = query(graph, model, block, x);
  const ValueId kv = graph.linear(x, block + "attn_kv_a_mqa");
  check_widths(model, graph.width(q), graph.width(kv));
  const std::uint64_t plain = model.full_key_dim - rotary;

  RopeOp rope = model.rope;
  rope.head_dim = model.full_key_dim;
  rope.first = plain;
  q = graph.add_op(rope, {q}, graph.width(q));
  const ValueId q_latent =
      head_linear(graph, graph.slice(q, heads, 0, plain), block + "attn_k_b.weight", heads, latent);
  q = graph.concat(q_latent, graph.slice(q, heads, plain, rotary), heads);

  graph.require(block + "attn_kv_a_norm.weight");
  const ValueId values = graph.norm(graph.slice(kv, 1, 0, latent), block + "attn_kv_a_norm",
                                    NormKind::rms, model.norm_epsilon);
  rope.head_dim = rotary;
  rope.first = 0;
  const ValueId k_rotary = graph.add_op(rope, {graph.slice(kv, 1, latent, rotary)}, rotary);
  const ValueId keys = graph.concat(values, k_rotary, 1);

  x = graph.add_op(AttentionOp{.heads = heads,
                               .kv_heads = 1,
                               .key_dim = latent + rotary,
                               .value_dim = latent,
                               .scale = model.attention_scale,
                               .alibi_slopes = {}},
                   {q, keys, values}, heads * latent);
  x = head_linear(graph, x, block + "attn_v_b.weight", heads, model.full_value_dim);
  return graph.linear(x, block + "attn_output");
}

}  // namespace qwodel
