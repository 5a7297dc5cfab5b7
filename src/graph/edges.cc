#include "graph/edges.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

namespace qwodel {
namespace {

// Operations that read a value.
std::vector<std::size_t> readers_of(const Stage& stage, ValueId value) {
  std::vector<std::size_t> readers;
  for (std::size_t i = 0; i < stage.ops.size(); ++i) {
    const auto& inputs = stage.ops[i].inputs;
    if (std::find(inputs.begin(), inputs.end(), value) != inputs.end()) readers.push_back(i);
  }
  return readers;
}

std::size_t producer_of(const Stage& stage, ValueId value) {
  for (std::size_t i = 0; i < stage.ops.size(); ++i) {
    if (stage.ops[i].output == value) return i;
  }
  return kNoOp;
}

bool owns_its_weights(const Graph& graph, const Op& op) {
  const std::vector<WeightId> own = op_weights(op);
  std::size_t uses = 0;
  for (const Stage& stage : graph.stages) {
    for (const Op& other : stage.ops) {
      for (const WeightId id : op_weights(other)) {
        uses += static_cast<std::size_t>(std::count(own.begin(), own.end(), id));
      }
    }
  }
  return uses == own.size();
}

bool reads_as_rows(const Op& op, ValueId value) {
  return linear_weight(op) != kNoId && op.inputs.front() == value;
}

// Follows a value back through operations that commute with a scale per column.
class Tracer {
 public:
  Tracer(const Graph& graph, const Stage& stage) : graph_(graph), stage_(stage) {}

  // `channel` says which column of `value` each column of the scaled input comes from. The readers
  // of `value` have been looked at.
  std::optional<ScaleAbsorber> trace(ValueId value, std::vector<std::uint32_t> channel) const {
    const std::size_t at = producer_of(stage_, value);
    if (at == kNoOp) return std::nullopt;
    const Op& op = stage_.ops[at];
    const bool absorbs = linear_weight(op) != kNoId || std::holds_alternative<NormOp>(op.kind);
    if (absorbs) return absorb(at, std::move(channel));
    if (const auto* slice = std::get_if<SliceOp>(&op.kind)) {
      return through_slice(op, *slice, std::move(channel));
    }
    if (const auto* attention = std::get_if<AttentionOp>(&op.kind)) {
      return through_attention(op, *attention, std::move(channel));
    }
    if (std::holds_alternative<MulOp>(op.kind)) return through_product(op, std::move(channel));
    const auto* activation = std::get_if<ActivationOp>(&op.kind);
    const bool commutes = std::holds_alternative<ScaleOp>(op.kind) ||
                          (activation != nullptr && activation->kind == ActivationKind::relu);
    if (!commutes) return std::nullopt;
    return alone(op.inputs[0], std::move(channel));
  }

 private:
  std::optional<ScaleAbsorber> absorb(std::size_t at, std::vector<std::uint32_t> channel) const {
    const Op& op = stage_.ops[at];
    if (!owns_its_weights(graph_, op)) return std::nullopt;
    if (const auto* norm = std::get_if<NormOp>(&op.kind)) {
      if (norm->weight == kNoId) return std::nullopt;
      const auto& shape = graph_.weights[norm->weight].shape;
      const std::uint64_t values =
          std::accumulate(shape.begin(), shape.end(), std::uint64_t{1}, std::multiplies<>());
      for (std::uint32_t& c : channel) c = static_cast<std::uint32_t>(c % values);
    }
    ScaleAbsorber absorber{at, std::move(channel), false};
    absorber.per_expert = std::holds_alternative<ExpertLinearOp>(op.kind);
    return absorber;
  }

  // The value has no reader but the one that was followed.
  std::optional<ScaleAbsorber> alone(ValueId value, std::vector<std::uint32_t> channel) const {
    if (readers_of(stage_, value).size() != 1 || value == stage_.output) return std::nullopt;
    return trace(value, std::move(channel));
  }

  // Other readers of a sliced value must take other columns.
  std::optional<ScaleAbsorber> through_slice(const Op& op, const SliceOp& slice,
                                             std::vector<std::uint32_t> channel) const {
    const ValueId source = op.inputs[0];
    for (const std::size_t reader : readers_of(stage_, source)) {
      const Op& other = stage_.ops[reader];
      if (&other == &op) continue;
      const auto* part = std::get_if<SliceOp>(&other.kind);
      const bool apart =
          part != nullptr && part->groups == slice.groups &&
          (part->first + part->count <= slice.first || slice.first + slice.count <= part->first);
      if (!apart) return std::nullopt;
    }
    if (source == stage_.output) return std::nullopt;
    const std::uint64_t width = stage_.values[source].width / slice.groups;
    for (std::uint32_t& c : channel) {
      c = static_cast<std::uint32_t>(c / slice.count * width + slice.first + c % slice.count);
    }
    return trace(source, std::move(channel));
  }

  // Each query head mixes rows of one value head.
  std::optional<ScaleAbsorber> through_attention(const Op& op, const AttentionOp& attention,
                                                 std::vector<std::uint32_t> channel) const {
    const ValueId values = op.inputs[2];
    if (values == op.inputs[0] || values == op.inputs[1]) return std::nullopt;
    const std::uint64_t shared = attention.heads / attention.kv_heads;
    for (std::uint32_t& c : channel) {
      const std::uint64_t head = c / attention.value_dim / shared;
      c = static_cast<std::uint32_t>(head * attention.value_dim + c % attention.value_dim);
    }
    return alone(values, std::move(channel));
  }

  // One factor takes the scale: the one that leads to weights, the second first (a gated
  // feed-forward's ffn_up).
  std::optional<ScaleAbsorber> through_product(const Op& op,
                                               std::vector<std::uint32_t> channel) const {
    if (op.inputs[0] == op.inputs[1]) return std::nullopt;
    const bool broadcast = stage_.values[op.inputs[1]].width != stage_.values[op.inputs[0]].width;
    if (!broadcast) {
      if (auto found = alone(op.inputs[1], channel)) return found;
    }
    return alone(op.inputs[0], std::move(channel));
  }

  const Graph& graph_;
  const Stage& stage_;
};

}  // namespace

WeightId linear_weight(const Op& op) {
  if (const auto* kind = std::get_if<LinearOp>(&op.kind)) return kind->weight;
  if (const auto* kind = std::get_if<HeadLinearOp>(&op.kind)) return kind->weight;
  if (const auto* kind = std::get_if<ExpertLinearOp>(&op.kind)) return kind->weight;
  return kNoId;
}

std::vector<WeightId> op_weights(const Op& op) {
  std::vector<WeightId> ids;
  const auto take = [&](const auto& kind) {
    if constexpr (requires { kind.weight; }) ids.push_back(kind.weight);
    if constexpr (requires { kind.bias; }) ids.push_back(kind.bias);
    if constexpr (requires { kind.selection_bias; }) ids.push_back(kind.selection_bias);
  };
  std::visit(take, op.kind);
  std::erase(ids, kNoId);
  return ids;
}

std::vector<LinearGroup> linear_groups(const Graph& graph) {
  std::vector<LinearGroup> all;
  for (std::size_t s = 0; s < graph.stages.size(); ++s) {
    const Stage& stage = graph.stages[s];
    std::vector<bool> seen(stage.values.size(), false);
    for (const Op& op : stage.ops) {
      if (linear_weight(op) == kNoId || seen[op.inputs.front()]) continue;
      LinearGroup& input = all.emplace_back();
      input.stage = s;
      input.value = op.inputs.front();
      input.producer = producer_of(stage, input.value);
      input.leaves_stage = input.value == stage.output;
      for (const std::size_t reader : readers_of(stage, input.value)) {
        const bool rows = reads_as_rows(stage.ops[reader], input.value);
        (rows ? input.linears : input.others).push_back(reader);
      }
      seen[input.value] = true;
    }
  }
  return all;
}

std::optional<ScaleAbsorber> scale_absorber(const Graph& graph, const LinearGroup& input) {
  if (!input.others.empty() || input.leaves_stage) return std::nullopt;
  const Stage& stage = graph.stages[input.stage];
  for (const std::size_t linear : input.linears) {
    if (!owns_its_weights(graph, stage.ops[linear])) return std::nullopt;
  }
  std::vector<std::uint32_t> channel(static_cast<std::size_t>(stage.values[input.value].width));
  std::iota(channel.begin(), channel.end(), 0u);
  return Tracer(graph, stage).trace(input.value, std::move(channel));
}

}  // namespace qwodel
