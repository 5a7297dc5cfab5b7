// Softmax attention: the operation of iOS 18, or its parts.
#include <cmath>

#include "targets/coreml/lowering.h"
#include "targets/coreml/mil_ops.h"

namespace qwodel {
namespace {

// [1, kv_heads, keys, dim] -> [1, heads, keys, dim]: each head of keys serves its queries' heads.
MilValue repeat_heads(MilBuilder& mil, const MilValue& x, std::int64_t heads) {
  const std::int64_t repeats = heads / x.dims[1];
  if (repeats == 1) return x;
  const MilDims grouped = {1, x.dims[1], 1, x.dims[2], x.dims[3]};
  const MilValue apart =
      mil.op("expand_dims", "kv_group", {{"x", x}, {"axes", mil.integers({2})}}, x.type, grouped);
  MilDims tiled = grouped;
  tiled[2] = repeats;
  const MilValue copies = mil.op(
      "tile", "kv_copies",
      {{"x", apart}, {"reps", mil.integers({1, 1, static_cast<std::int32_t>(repeats), 1, 1})}},
      x.type, tiled);
  return reshape(mil, "kv_heads", copies, {1, heads, x.dims[2], x.dims[3]});
}

// The operation divides by sqrt(key_dim); what the model has beyond that is on the queries.
MilValue fused(MilBuilder& mil, const AttentionOp& op, MilValue q, const KeysValues& kv,
               const std::optional<MilValue>& mask, const MilDims& dims) {
  const float factor = op.scale * std::sqrt(static_cast<float>(op.key_dim));
  if (std::abs(factor - 1) > 1e-6f) {
    q = elementwise(mil, "mul", "scaled_queries", q, mil.half(factor));
  }
  if (!mask) {
    return mil.op("scaled_dot_product_attention", "attention",
                  {{"query", q}, {"key", kv.keys}, {"value", kv.values}}, q.type, dims);
  }
  return mil.op("scaled_dot_product_attention", "attention",
                {{"query", q}, {"key", kv.keys}, {"value", kv.values}, {"attn_mask", *mask}},
                q.type, dims);
}

MilValue unfused(MilBuilder& mil, const AttentionOp& op, const MilValue& q, const KeysValues& kv,
                 const std::optional<MilValue>& mask, const MilDims& dims) {
  const MilValue scaled = elementwise(mil, "mul", "scaled_queries", q, mil.half(op.scale));
  MilValue scores =
      matmul(mil, "scores", scaled, kv.keys, true, {1, q.dims[1], q.dims[2], kv.keys.dims[2]});
  if (op.softcap > 0) {
    scores = elementwise(mil, "mul", "scores_over_cap", scores, mil.half(1 / op.softcap));
    scores = unary(mil, "tanh", "soft_scores", scores);
    scores = elementwise(mil, "mul", "capped_scores", scores, mil.half(op.softcap));
  }
  if (mask) scores = elementwise(mil, "add", "masked_scores", scores, *mask);
  return matmul(mil, "attention", softmax(mil, "probabilities", scores), kv.values, false, dims);
}

}  // namespace

Activation lower_attention(Lowering& lowering, const AttentionOp& op, Activation& q, Activation& k,
                           Activation& v) {
  MilBuilder& mil = lowering.mil;
  const MilValue queries = lowering.heads(q, op.key_dim);
  KeysValues kv{lowering.heads(k, op.key_dim), lowering.heads(v, op.value_dim)};
  if (lowering.caches) kv = update_caches(lowering, kv);
  const auto heads = static_cast<std::int64_t>(op.heads);
  kv = {repeat_heads(mil, kv.keys, heads), repeat_heads(mil, kv.values, heads)};
  const std::optional<MilValue> mask = attention_mask(lowering, op);
  const MilDims dims = {1, heads, queries.dims[2], static_cast<std::int64_t>(op.value_dim)};
  const bool has_operation = mil.specification() >= 9 && op.softcap == 0;
  Activation result;
  result.width = op.heads * op.value_dim;
  result.heads[op.value_dim] = has_operation ? fused(mil, op, queries, kv, mask, dims)
                                             : unfused(mil, op, queries, kv, mask, dims);
  return result;
}

}  // namespace qwodel
