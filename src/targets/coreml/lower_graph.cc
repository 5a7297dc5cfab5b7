#include "targets/coreml/lower_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <variant>

#include "qwodel/error.h"
#include "targets/coreml/features.h"
#include "targets/coreml/lowering.h"
#include "targets/coreml/mil_ops.h"

namespace qwodel {
namespace {

// One stage's operations in order.
class StageLowering {
 public:
  StageLowering(Lowering& lowering, const Stage& stage, const MilValue& ids)
      : lowering_(lowering), stage_(stage), ids_(ids), values_(stage.values.size()) {}

  Activation run(Activation input) {
    if (stage_.input != kNoId) values_[stage_.input] = std::move(input);
    for (const Op& op : stage_.ops) {
      op_ = &op;
      values_[op.output] = std::visit([this](const auto& kind) { return lower(kind); }, op.kind);
    }
    return values_[stage_.output];
  }

 private:
  Activation& in(std::size_t i = 0) { return values_[op_->inputs[i]]; }

  Activation lower(const EmbeddingOp& op) { return lower_embedding(lowering_, op, ids_); }
  Activation lower(const PositionEmbeddingOp& op) { return lower_positions(lowering_, op, in()); }
  Activation lower(const SegmentEmbeddingOp& op) { return lower_segments(lowering_, op, in()); }
  Activation lower(const LinearOp& op) { return lower_linear(lowering_, op, in()); }
  Activation lower(const HeadLinearOp& op) { return lower_head_linear(lowering_, op, in()); }
  Activation lower(const NormOp& op) { return lower_norm(lowering_, op, in()); }
  Activation lower(const RopeOp& op) {
    return lower_rope(lowering_, op, lowering_.orders.ropes.contains(op_), in());
  }
  Activation lower(const AttentionOp& op) {
    return lower_attention(lowering_, op, in(0), in(1), in(2));
  }
  Activation lower(const ActivationOp& op) { return lower_activation(lowering_, op, in()); }
  Activation lower(const AddOp&) { return lower_pair(lowering_, "add", in(0), in(1)); }
  Activation lower(const MulOp&) { return lower_pair(lowering_, "mul", in(0), in(1)); }
  Activation lower(const ScaleOp& op) { return lower_scale(lowering_, op, in()); }
  Activation lower(const SoftcapOp& op) { return lower_softcap(lowering_, op, in()); }
  Activation lower(const ClampOp& op) { return lower_clamp(lowering_, op, in()); }
  Activation lower(const SliceOp& op) { return lower_slice(lowering_, op, in()); }
  Activation lower(const ConcatOp& op) { return lower_concat(lowering_, op, in(0), in(1)); }
  Activation lower(const RouteOp&) { refuse_experts(); }
  Activation lower(const ExpertLinearOp&) { refuse_experts(); }
  Activation lower(const CombineOp&) { refuse_experts(); }

  [[noreturn]] void refuse_experts() const {
    throw FormatNotSupportedError(
        {.where = stage_.name,
         .found = "experts that are chosen for each token",
         .expected = "a dense model: Core ML has no operation that reads only the chosen weights, "
                     "and running all experts would cost many times the work",
         .remedy = "use a gguf target, such as gguf:Q4_K_M"});
  }

  Lowering& lowering_;
  const Stage& stage_;
  const MilValue& ids_;
  std::vector<Activation> values_;
  const Op* op_ = nullptr;
};

// 0 for tokens, far below any score for padding: [1, 1, 1, keys].
MilValue padding_mask(MilBuilder& mil, const MilValue& is_token) {
  constexpr float kHidden = -30000;
  const MilValue number = cast(mil, "is_token", is_token, mil::FLOAT16);
  const MilValue scaled = elementwise(mil, "mul", "token_scores", number, mil.half(-kHidden));
  const MilValue hidden = elementwise(mil, "add", "padding_scores", scaled, mil.half(kHidden));
  return reshape(mil, "padding_mask", hidden, {1, 1, 1, is_token.dims[1]});
}

// Inputs, states and the positions of a call.
MilValue add_inputs(Lowering& lowering) {
  MilBuilder& mil = lowering.mil;
  Sequence& sequence = lowering.sequence;
  const auto& lengths = lowering.options.sequence_lengths;
  if (lengths.size() == 1) sequence.queries = static_cast<std::int64_t>(lengths.front());
  const MilValue ids = mil.input("inputIds", mil::INT32, {1, sequence.queries});
  if (lowering.options.stateful) {
    sequence.mask = mil.input("causalMask", mil::FLOAT16, {1, 1, kFlexible, kFlexible});
    sequence.mask_input = sequence.mask;
    lowering.caches = make_caches(lowering);
    sequence.end = extent(mil, "end", *sequence.mask, 3);
    const MilValue queries = extent(mil, "queries", ids, 1);
    sequence.past = elementwise(mil, "sub", "past", sequence.end, queries);
    return ids;
  }
  sequence.keys = sequence.queries;
  if (lowering.graph.is_encoder) {
    sequence.mask_input = mil.input("attentionMask", mil::INT32, ids.dims);
    sequence.mask = padding_mask(mil, *sequence.mask_input);
  }
  sequence.past = mil.integers({0});
  sequence.end = sequence.queries == kFlexible
                     ? extent(mil, "end", ids, 1)
                     : mil.integers({static_cast<std::int32_t>(sequence.queries)});
  return ids;
}

// The last row of [1, queries, width].
MilValue last_row(MilBuilder& mil, const MilValue& x) {
  return mil.op("slice_by_index", "last",
                {{"x", x},
                 {"begin", mil.integers({0, -1, 0})},
                 {"end", mil.integers({0, 0, 0})},
                 {"stride", mil.integers({1, 1, 1})},
                 {"begin_mask", mil.flags({true, false, true})},
                 {"end_mask", mil.flags({true, true, true})},
                 {"squeeze_mask", mil.flags({false, false, false})}},
                x.type, {1, 1, x.dims[2]});
}

// Sums over the axis of the tokens: [1, tokens, width] -> [1, width].
MilValue sum_of_tokens(MilBuilder& mil, const char* name, const MilValue& x) {
  return mil.op("reduce_sum", name,
                {{"x", x}, {"axes", mil.integers({1})}, {"keep_dims", mil.flag(false)}}, x.type,
                {1, x.dims[2]});
}

// The mean of the tokens that are none of padding. Sums of many halves would lose digits.
MilValue mean_of_tokens(Lowering& lowering, const MilValue& states) {
  MilBuilder& mil = lowering.mil;
  const MilValue& given = *lowering.sequence.mask_input;
  const MilValue flags = cast(mil, "is_token_wide", given, mil::FLOAT32);
  const MilValue column = reshape(mil, "token_column", flags, {1, given.dims[1], 1});
  const MilValue wide = cast(mil, "states_wide", states, mil::FLOAT32);
  const MilValue seen = elementwise(mil, "mul", "states_seen", wide, column);
  const MilValue sum = sum_of_tokens(mil, "state_sum", seen);
  const MilValue count = elementwise(mil, "maximum", "token_count",
                                     sum_of_tokens(mil, "token_sum", column), mil.single(1));
  const MilValue mean = elementwise(mil, "real_div", "mean", sum, count);
  return cast(mil, "embedding_half", mean, mil::FLOAT16);
}

MilValue first_token(MilBuilder& mil, const MilValue& states) {
  const MilValue first = slice(mil, "first", states, {1, mil.integers({0}), mil.integers({1}), 1});
  return reshape(mil, "first_row", first, {1, states.dims[2]});
}

MilValue result_of(Lowering& lowering, Activation& value) {
  MilBuilder& mil = lowering.mil;
  const MilValue& rows = lowering.rows(value);
  if (!lowering.graph.is_encoder) return unary(mil, "identity", "logits", rows);
  switch (lowering.options.pooling) {
    case Pooling::mean:
      return unary(mil, "identity", "embedding", mean_of_tokens(lowering, rows));
    case Pooling::first:
      return unary(mil, "identity", "embedding", first_token(mil, rows));
    case Pooling::none:
      break;
  }
  return unary(mil, "identity", "hiddenStates", rows);
}

}  // namespace

LoweredModel lower_graph(const Graph& graph, const GraphWeights& weights,
                         const CoremlOptions& options, const std::vector<WeightScheme>& schemes) {
  Lowering lowering(graph, weights, options, schemes);
  const MilValue ids = add_inputs(lowering);
  Activation value;
  for (const Stage& stage : graph.stages) {
    lowering.mil.set_scope(stage.name);
    const bool is_head = &stage == &graph.stages.back();
    if (is_head && options.last_logits_only && !graph.is_encoder) {
      Activation last;
      last.width = value.width;
      last.rows = last_row(lowering.mil, lowering.rows(value));
      value = std::move(last);
    }
    value = StageLowering(lowering, stage, ids).run(std::move(value));
  }
  lowering.mil.set_scope({});
  const MilValue result_value = result_of(lowering, value);
  lowering.mil.output(result_value);
  LoweredModel result;
  describe_features(lowering, ids, result_value, *result.model.mutable_description());
  result.model.set_specification_version(options.version.specification);
  *result.model.mutable_ml_program() = lowering.mil.finish();
  result.file = std::move(lowering.file);
  return result;
}

}  // namespace qwodel
