// Operations that treat rows alike: embeddings, linears, activations, sums, slices.
#include <string>
#include <string_view>

#include "qwodel/error.h"
#include "targets/coreml/lowering.h"
#include "targets/coreml/mil_ops.h"

namespace qwodel {
namespace {

std::int64_t extent_of(std::uint64_t value) { return static_cast<std::int64_t>(value); }

Activation of_rows(MilValue value) {
  Activation result;
  result.width = static_cast<std::uint64_t>(value.dims.back());
  result.rows = std::move(value);
  return result;
}

// "blk_0_attn_q" of "blk.0.attn_q.weight".
std::string module_name(const Lowering& lowering, WeightId weight) {
  std::string name = lowering.graph.weights[weight].name;
  if (name.ends_with(".weight")) name.resize(name.size() - std::string_view(".weight").size());
  return name;
}

}  // namespace

Activation lower_embedding(Lowering& lowering, const EmbeddingOp& op, const MilValue& ids) {
  MilBuilder& mil = lowering.mil;
  const MilValue table = lowering.matrix(op.weight);
  const MilDims dims = {1, ids.dims[1], table.dims[1]};
  const MilValue axis = mil.integer(0);
  if (mil.specification() < 8) {
    return of_rows(mil.op("gather", "embedding",
                          {{"x", table}, {"indices", ids}, {"axis", axis}, {"batch_dims", axis}},
                          mil::FLOAT16, dims));
  }
  return of_rows(mil.op("gather", "embedding",
                        {{"x", table},
                         {"indices", ids},
                         {"axis", axis},
                         {"batch_dims", axis},
                         {"validate_indices", mil.flag(false)}},
                        mil::FLOAT16, dims));
}

Activation lower_positions(Lowering& lowering, const PositionEmbeddingOp& op, Activation& x) {
  MilBuilder& mil = lowering.mil;
  const GraphWeight& weight = lowering.graph.weights[op.weight];
  const std::uint64_t rows = weight.shape[0] - op.offset;
  if (lowering.options.context_length > rows) {
    throw FormatNotSupportedError(
        {.where = "--context-length",
         .found = std::to_string(lowering.options.context_length),
         .expected = "at most " + std::to_string(rows) + ", the positions the model has learned",
         .remedy = {}});
  }
  const MilValue table = lowering.vector(
      op.weight, {1, extent_of(lowering.options.context_length), extent_of(weight.shape[1])},
      op.offset);
  const Sequence& sequence = lowering.sequence;
  const MilValue now =
      slice(mil, "positions", table, {1, sequence.past, sequence.end, sequence.queries});
  return of_rows(elementwise(mil, "add", "with_positions", lowering.rows(x), now));
}

Activation lower_segments(Lowering& lowering, const SegmentEmbeddingOp& op, Activation& x) {
  const std::uint64_t width = lowering.graph.weights[op.weight].shape.back();
  const MilValue first = lowering.vector(op.weight, {1, 1, extent_of(width)});
  return of_rows(elementwise(lowering.mil, "add", "with_segment", lowering.rows(x), first));
}

Activation lower_linear(Lowering& lowering, const LinearOp& op, Activation& x) {
  MilBuilder& mil = lowering.mil;
  const MilValue weight = lowering.matrix(op.weight);
  const MilValue bias = op.bias == kNoId
                            ? lowering.zeros(static_cast<std::uint64_t>(weight.dims[0]))
                            : lowering.vector(op.bias, {weight.dims[0]});
  const MilValue& in = lowering.rows(x);
  return of_rows(mil.op("linear", module_name(lowering, op.weight) + "_out",
                        {{"x", in}, {"weight", weight}, {"bias", bias}}, mil::FLOAT16,
                        {1, in.dims[1], weight.dims[0]}));
}

// [1, heads, queries, in] times [heads, out, in], one product per head.
Activation lower_head_linear(Lowering& lowering, const HeadLinearOp& op, Activation& x) {
  MilBuilder& mil = lowering.mil;
  const auto& shape = lowering.graph.weights[op.weight].shape;
  const MilValue flat = lowering.matrix(op.weight);
  const MilValue weight = reshape(
      mil, "per_head", flat, {1, extent_of(shape[0]), extent_of(shape[1]), extent_of(shape[2])});
  const MilValue& in = lowering.heads(x, shape[2]);
  Activation result;
  result.width = shape[0] * shape[1];
  result.heads[shape[1]] = matmul(mil, module_name(lowering, op.weight) + "_out", in, weight, true,
                                  {1, extent_of(shape[0]), in.dims[2], extent_of(shape[1])});
  return result;
}

Activation lower_activation(Lowering& lowering, const ActivationOp& op, Activation& x) {
  MilBuilder& mil = lowering.mil;
  const MilValue& in = lowering.rows(x);
  const auto gelu = [&](const char* mode) {
    return of_rows(mil.op("gelu", "gelu", {{"x", in}, {"mode", mil.text(mode)}}, in.type, in.dims));
  };
  switch (op.kind) {
    case ActivationKind::silu:
      return of_rows(unary(mil, "silu", "silu", in));
    case ActivationKind::gelu_tanh:
      return gelu("TANH_APPROXIMATION");
    case ActivationKind::gelu_erf:
      return gelu("EXACT");
    case ActivationKind::relu:
      return of_rows(unary(mil, "relu", "relu", in));
    case ActivationKind::sigmoid:
      return of_rows(unary(mil, "sigmoid", "sigmoid", in));
    case ActivationKind::tanh:
      break;
  }
  return of_rows(unary(mil, "tanh", "tanh", in));
}

Activation lower_pair(Lowering& lowering, const char* type, Activation& a, Activation& b) {
  return of_rows(elementwise(lowering.mil, type, type, lowering.rows(a), lowering.rows(b)));
}

Activation lower_scale(Lowering& lowering, const ScaleOp& op, Activation& x) {
  return of_rows(
      elementwise(lowering.mil, "mul", "scaled", lowering.rows(x), lowering.mil.half(op.factor)));
}

Activation lower_softcap(Lowering& lowering, const SoftcapOp& op, Activation& x) {
  MilBuilder& mil = lowering.mil;
  const MilValue ratio =
      elementwise(mil, "mul", "over_cap", lowering.rows(x), mil.half(1 / op.cap));
  const MilValue soft = unary(mil, "tanh", "soft", ratio);
  return of_rows(elementwise(mil, "mul", "capped", soft, mil.half(op.cap)));
}

Activation lower_clamp(Lowering& lowering, const ClampOp& op, Activation& x) {
  MilBuilder& mil = lowering.mil;
  const MilValue& in = lowering.rows(x);
  return of_rows(mil.op("clip", "clamped",
                        {{"x", in}, {"alpha", mil.half(-op.limit)}, {"beta", mil.half(op.limit)}},
                        in.type, in.dims));
}

Activation lower_slice(Lowering& lowering, const SliceOp& op, Activation& x) {
  MilBuilder& mil = lowering.mil;
  const MilValue& in = lowering.rows(x);
  if (op.groups == 1) return of_rows(columns(mil, "part", in, op.first, op.count));
  const MilValue grouped = reshape(
      mil, "grouped", in, {1, in.dims[1], extent_of(op.groups), extent_of(x.width / op.groups)});
  const MilValue part = columns(mil, "part", grouped, op.first, op.count);
  return of_rows(reshape(mil, "joined", part, {1, in.dims[1], extent_of(op.groups * op.count)}));
}

Activation lower_concat(Lowering& lowering, const ConcatOp& op, Activation& a, Activation& b) {
  MilBuilder& mil = lowering.mil;
  const std::int64_t queries = lowering.rows(a).dims[1];
  const std::int64_t groups = extent_of(op.groups);
  const auto grouped = [&](Activation& value) {
    return reshape(mil, "grouped", lowering.rows(value),
                   {1, queries, groups, extent_of(value.width / op.groups)});
  };
  const MilValue left = grouped(a);
  const MilValue right = grouped(b);
  const MilValue joined =
      mil.concat("joined", {left, right}, -1, {1, queries, groups, left.dims[3] + right.dims[3]});
  return of_rows(reshape(mil, "flat", joined, {1, queries, extent_of(a.width + b.width)}));
}

}  // namespace qwodel
