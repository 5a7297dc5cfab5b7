// Normalizations.
//
// Squares of half-precision activations overflow (beyond 255 in magnitude), so a root mean square
// is computed in single precision, division included; only its result is half.
#include <algorithm>

#include "targets/coreml/lowering.h"
#include "targets/coreml/mil_ops.h"

namespace qwodel {
namespace {

constexpr float kSmallestHalf = 0x1p-24f;

MilValue rms(MilBuilder& mil, const MilValue& x, float epsilon) {
  const MilValue wide = cast(mil, "norm_in", x, mil::FLOAT32);
  const MilValue squares = unary(mil, "square", "norm_squares", wide);
  MilDims one = x.dims;
  one.back() = 1;
  const MilValue mean =
      mil.op("reduce_mean", "norm_mean",
             {{"x", squares}, {"axes", mil.integers({-1})}, {"keep_dims", mil.flag(true)}},
             mil::FLOAT32, one);
  const MilValue inverse = mil.op(
      "rsqrt", "norm_inverse", {{"x", mean}, {"epsilon", mil.single(epsilon)}}, mil::FLOAT32, one);
  const MilValue unit = elementwise(mil, "mul", "norm_unit_wide", wide, inverse);
  return cast(mil, "norm_unit", unit, mil::FLOAT16);
}

// The operation of the language has gamma and beta; a weight that a head's columns do not share is
// multiplied afterwards. Its epsilon is a half: one that would vanish is raised to the smallest.
MilValue centered(MilBuilder& mil, const MilValue& x, float epsilon) {
  return mil.op("layer_norm", "norm_unit",
                {{"x", x},
                 {"axes", mil.integers({-1})},
                 {"epsilon", mil.half(std::max(epsilon, kSmallestHalf))}},
                x.type, x.dims);
}

MilValue centered(MilBuilder& mil, const MilValue& x, float epsilon, const MilValue& gamma,
                  const MilValue& beta) {
  return mil.op("layer_norm", "norm",
                {{"x", x},
                 {"axes", mil.integers({-1})},
                 {"gamma", gamma},
                 {"beta", beta},
                 {"epsilon", mil.half(std::max(epsilon, kSmallestHalf))}},
                x.type, x.dims);
}

std::uint64_t values_of(const Lowering& lowering, WeightId weight) {
  std::uint64_t count = 1;
  for (const std::uint64_t extent : lowering.graph.weights[weight].shape) count *= extent;
  return count;
}

}  // namespace

Activation lower_norm(Lowering& lowering, const NormOp& op, Activation& x) {
  MilBuilder& mil = lowering.mil;
  const std::uint64_t group = op.group == 0 ? x.width : op.group;
  const bool per_head = group != x.width;
  const MilValue& in = per_head ? lowering.heads(x, group) : lowering.rows(x);
  const auto size = static_cast<std::int64_t>(group);
  // Of a weight with a value for each column of the row: [1, heads, 1, group].
  const auto dims_of = [&](WeightId weight) {
    const std::uint64_t count = values_of(lowering, weight);
    if (count == group) return MilDims{size};
    return MilDims{1, static_cast<std::int64_t>(count / group), 1, size};
  };
  MilValue result;
  const bool plain = op.weight != kNoId && dims_of(op.weight).size() == 1 &&
                     (op.bias == kNoId || dims_of(op.bias).size() == 1);
  if (op.kind == NormKind::layer && plain) {
    const MilValue gamma = lowering.vector(op.weight, {size});
    const MilValue beta =
        op.bias == kNoId ? lowering.zeros(group) : lowering.vector(op.bias, {size});
    result = centered(mil, in, op.epsilon, gamma, beta);
  } else {
    result = op.kind == NormKind::rms ? rms(mil, in, op.epsilon) : centered(mil, in, op.epsilon);
    if (op.weight != kNoId) {
      result =
          elementwise(mil, "mul", "norm", result, lowering.vector(op.weight, dims_of(op.weight)));
    }
    if (op.bias != kNoId) {
      result = elementwise(mil, "add", "norm", result, lowering.vector(op.bias, dims_of(op.bias)));
    }
  }
  Activation out;
  out.width = x.width;
  if (per_head) {
    out.heads[group] = result;
  } else {
    out.rows = result;
  }
  return out;
}

}  // namespace qwodel
