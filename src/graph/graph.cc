#include "graph/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string_view>

#include "core/checked.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

// Widths fit the signed 32-bit extents of matrix libraries.
constexpr std::uint64_t kMaxWidth = std::numeric_limits<std::int32_t>::max();

struct Place {
  const std::string& model;
  const std::string& stage;
  std::size_t op = 0;
};

[[noreturn]] void fail(const Place& place, std::string_view rule) {
  throw ValidationError(
      {.where = fmt::format("{}, {}, operation {}", place.model, place.stage, place.op),
       .found = "a graph that breaks a rule",
       .expected = std::string(rule),
       .remedy = {}});
}

bool is_positive(float x) { return std::isfinite(x) && x > 0; }

// One stage's operations in order. Each check() also says what the output must be.
class StageChecker {
 public:
  StageChecker(const Graph& graph, const Stage& stage, const std::string& model)
      : graph_(graph), stage_(stage), place_{model, stage.name, 0} {
    known_.assign(stage.values.size(), false);
    routing_.assign(stage.values.size(), nullptr);
  }

  void run(bool first, bool is_head) {
    for (const Value& value : stage_.values) {
      require(value.width >= 1 && value.width <= kMaxWidth, "widths of 1 to 2^31 - 1");
    }
    require(first == (stage_.input == kNoId), "the first stage alone reads token ids");
    if (!first) {
      require(stage_.input < stage_.values.size() && is_tokens(stage_.input) &&
                  width(stage_.input) == graph_.hidden_size,
              "a hidden state as the input");
      known_[stage_.input] = true;
    }
    for (place_.op = 0; place_.op < stage_.ops.size(); ++place_.op) check_op();
    require(stage_.output < stage_.values.size() && known_[stage_.output] &&
                is_tokens(stage_.output) &&
                width(stage_.output) == (is_head ? graph_.vocab_size : graph_.hidden_size),
            is_head ? "logits as the output" : "a hidden state as the output");
    if (is_head) check_head();
  }

 private:
  void require(bool holds, std::string_view rule) const {
    if (!holds) fail(place_, rule);
  }

  std::uint64_t width(ValueId id) const { return stage_.values[id].width; }
  bool is_tokens(ValueId id) const { return stage_.values[id].rows == RowKind::tokens; }
  ValueId in(std::size_t i) const { return op_->inputs[i]; }
  std::uint64_t in_width(std::size_t i = 0) const { return width(in(i)); }

  void check_op() {
    op_ = &stage_.ops[place_.op];
    for (const ValueId id : op_->inputs) {
      require(id < known_.size() && known_[id], "inputs that were computed before");
    }
    require(op_->output < known_.size() && !known_[op_->output], "an output that is assigned once");
    std::visit([this](const auto& kind) { check(kind); }, op_->kind);
    known_[op_->output] = true;
  }

  void require_inputs(std::size_t count) const {
    require(op_->inputs.size() == count, fmt::format("{} inputs", count));
  }

  // The output's columns and rows; a routed output belongs to a routing.
  void require_output(std::uint64_t columns, RowKind rows, const Op* routing = nullptr) {
    require(width(op_->output) == columns, fmt::format("an output of {} columns", columns));
    require(stage_.values[op_->output].rows == rows, "rows that follow from the inputs");
    routing_[op_->output] = routing;
  }

  // Rows like those of the first input, which is no routing.
  void require_like_input(std::uint64_t columns) {
    const RowKind rows = stage_.values[in(0)].rows;
    require(rows != RowKind::routing, "rows of activations");
    require_output(columns, rows, routing_[in(0)]);
  }

  const std::vector<std::uint64_t>& shape(WeightId id) const {
    require(id < graph_.weights.size(), "a weight of the graph");
    return graph_.weights[id].shape;
  }

  void require_shape(WeightId id, const std::vector<std::uint64_t>& expected) const {
    require(shape(id) == expected, "a weight whose shape fits the widths");
  }
  void require_optional(WeightId id, const std::vector<std::uint64_t>& expected) const {
    if (id != kNoId) require_shape(id, expected);
  }

  void require_same_rows() const {
    require(stage_.values[in(0)].rows == stage_.values[in(1)].rows &&
                routing_[in(0)] == routing_[in(1)],
            "inputs with the same rows");
  }

  const RouteOp& route_of(ValueId routing) const {
    require(stage_.values[routing].rows == RowKind::routing && routing_[routing] != nullptr,
            "a routing");
    return std::get<RouteOp>(routing_[routing]->kind);
  }

  void check(const EmbeddingOp& op) {
    require_inputs(0);
    require(stage_.input == kNoId, "an embedding in the first stage only");
    require_shape(op.weight, {graph_.vocab_size, graph_.hidden_size});
    require_output(graph_.hidden_size, RowKind::tokens);
  }

  void check(const PositionEmbeddingOp& op) {
    require_inputs(1);
    require(shape(op.weight).size() == 2 && shape(op.weight)[1] == in_width() &&
                op.offset < shape(op.weight)[0],
            "a table of positions as wide as the input");
    require(is_tokens(in(0)), "a row per token");
    require_like_input(in_width());
  }

  void check(const SegmentEmbeddingOp& op) {
    require_inputs(1);
    require(shape(op.weight).size() == 2 && shape(op.weight)[1] == in_width(),
            "a table of segments as wide as the input");
    require_like_input(in_width());
  }

  void check(const LinearOp& op) {
    require_inputs(1);
    require_shape(op.weight, {width(op_->output), in_width()});
    require_optional(op.bias, {width(op_->output)});
    require_like_input(width(op_->output));
  }

  void check(const HeadLinearOp& op) {
    require_inputs(1);
    const auto& extents = shape(op.weight);
    require(extents.size() == 3 && checked_mul(extents[0], extents[2]) == in_width(),
            "a weight [heads, out, in] for the input's columns");
    const auto columns = checked_mul(extents[0], extents[1]);
    require(columns.has_value(), "a size that fits 64 bits");
    require(is_tokens(in(0)), "a row per token");
    require_like_input(*columns);
  }

  void check(const NormOp& op) {
    require_inputs(1);
    require(std::isfinite(op.epsilon) && op.epsilon >= 0, "an epsilon of at least 0");
    const std::uint64_t group = op.group == 0 ? in_width() : op.group;
    require(in_width() % group == 0, "groups that divide the row");
    for (const WeightId id : {op.weight, op.bias}) {
      if (id == kNoId) continue;
      const auto values = checked_product(shape(id));
      require(values == group || values == in_width(), "as many weights as a group or a row");
    }
    require_like_input(in_width());
  }

  void check(const RopeOp& op) {
    require_inputs(1);
    require(is_tokens(in(0)), "a row per token");
    require(op.head_dim >= 1 && in_width() % op.head_dim == 0, "whole heads");
    require(!op.frequencies.empty() && op.first <= op.head_dim &&
                op.frequencies.size() <= (op.head_dim - op.first) / 2,
            "rotated columns within the head");
    require(op.long_frequencies.empty() || op.long_frequencies.size() == op.frequencies.size(),
            "as many long frequencies as short ones");
    const auto finite = [](float x) { return std::isfinite(x); };
    require(std::all_of(op.frequencies.begin(), op.frequencies.end(), finite) &&
                std::all_of(op.long_frequencies.begin(), op.long_frequencies.end(), finite) &&
                finite(op.magnitude) && finite(op.long_magnitude),
            "finite frequencies");
    require_like_input(in_width());
  }

  void check(const AttentionOp& op) {
    require_inputs(3);
    for (std::size_t i = 0; i < 3; ++i) require(is_tokens(in(i)), "a row per token");
    require(op.heads >= 1 && op.kv_heads >= 1 && op.key_dim >= 1 && op.value_dim >= 1 &&
                op.heads % op.kv_heads == 0,
            "heads in multiples of the key-value heads");
    require(checked_mul(op.heads, op.key_dim) == in_width(0) &&
                checked_mul(op.kv_heads, op.key_dim) == in_width(1) &&
                checked_mul(op.kv_heads, op.value_dim) == in_width(2),
            "queries, keys and values as wide as their heads");
    require(std::isfinite(op.scale) && std::isfinite(op.softcap) && op.softcap >= 0,
            "a finite scale and softcap");
    require(op.alibi_slopes.empty() || op.alibi_slopes.size() == op.heads, "one slope per head");
    require(std::all_of(op.alibi_slopes.begin(), op.alibi_slopes.end(),
                        [](float slope) { return std::isfinite(slope); }),
            "finite slopes");
    const auto columns = checked_mul(op.heads, op.value_dim);
    require(columns.has_value(), "a size that fits 64 bits");
    require_output(*columns, RowKind::tokens);
  }

  void check(const ActivationOp&) { check_elementwise(); }
  void check(const ScaleOp& op) {
    require(std::isfinite(op.factor), "a finite factor");
    check_elementwise();
  }
  void check(const SoftcapOp& op) {
    require(is_positive(op.cap), "a cap above 0");
    check_elementwise();
  }
  void check(const ClampOp& op) {
    require(is_positive(op.limit), "a limit above 0");
    check_elementwise();
  }
  void check_elementwise() {
    require_inputs(1);
    require_like_input(in_width());
  }

  void check(const AddOp&) { check_pair(); }
  void check(const MulOp&) { check_pair(); }
  void check_pair() {
    require_inputs(2);
    require_same_rows();
    require(in_width(1) == in_width(0) || in_width(1) == 1, "inputs of one width");
    require_like_input(in_width());
  }

  void check(const SliceOp& op) {
    require_inputs(1);
    require(op.groups >= 1 && in_width() % op.groups == 0, "equal parts");
    const std::uint64_t part = in_width() / op.groups;
    require(op.first < part && op.count >= 1 && op.count <= part - op.first,
            "columns within a part");
    require_like_input(op.groups * op.count);
  }

  void check(const ConcatOp& op) {
    require_inputs(2);
    require_same_rows();
    require(op.groups >= 1 && in_width(0) % op.groups == 0 && in_width(1) % op.groups == 0,
            "equal parts");
    require_like_input(in_width(0) + in_width(1));
  }

  void check(const RouteOp& op) {
    require_inputs(1);
    require(is_tokens(in(0)) && in_width() == op.experts, "a logit per expert");
    require(op.top_k >= 1 && op.top_k <= op.experts, "1 to all experts chosen");
    require(op.groups >= 1 && op.experts % op.groups == 0 && op.top_groups >= 1 &&
                op.top_groups <= op.groups,
            "equal groups of experts");
    const std::uint64_t size = op.experts / op.groups;
    require(op.top_k <= op.top_groups * size, "as many experts in the chosen groups as are taken");
    require(op.groups == 1 || !op.groups_by_top_two || size >= 2, "two experts in a group");
    require(std::isfinite(op.scale), "a finite scale");
    require_optional(op.selection_bias, {op.experts});
    require_output(op.top_k, RowKind::routing, op_);
  }

  void check(const ExpertLinearOp& op) {
    require_inputs(2);
    const RouteOp& route = route_of(in(1));
    const bool routed = stage_.values[in(0)].rows == RowKind::routed;
    require(is_tokens(in(0)) || (routed && routing_[in(0)] == routing_[in(1)]),
            "rows of this routing");
    const std::uint64_t columns = width(op_->output);
    require_shape(op.weight, {route.experts, columns, in_width()});
    require_optional(op.bias, {route.experts, columns});
    require_output(columns, RowKind::routed, routing_[in(1)]);
  }

  void check(const CombineOp&) {
    require_inputs(2);
    route_of(in(1));
    require(stage_.values[in(0)].rows == RowKind::routed && routing_[in(0)] == routing_[in(1)],
            "rows of this routing");
    require_output(in_width(0), RowKind::tokens);
  }

  // One linear makes the vocabulary's columns, and only elementwise operations follow.
  void check_head() {
    const auto is_linear = [](const Op& op) { return std::holds_alternative<LinearOp>(op.kind); };
    const auto linear = std::find_if(stage_.ops.rbegin(), stage_.ops.rend(), is_linear);
    require(linear != stage_.ops.rend() && width(linear->output) == graph_.vocab_size,
            "a linear that makes the logits");
    ValueId result = linear->output;
    for (auto op = linear.base(); op != stage_.ops.end(); ++op) {
      const bool elementwise = std::holds_alternative<ScaleOp>(op->kind) ||
                               std::holds_alternative<SoftcapOp>(op->kind) ||
                               std::holds_alternative<ClampOp>(op->kind);
      require(elementwise && op->inputs.front() == result, "only elementwise operations after it");
      result = op->output;
    }
    require(result == stage_.output, "logits as the output");
  }

  const Graph& graph_;
  const Stage& stage_;
  Place place_;
  const Op* op_ = nullptr;
  std::vector<bool> known_;
  std::vector<const Op*> routing_;  // of routed rows and routings: the RouteOp
};

}  // namespace

void validate_graph(const Graph& graph, const std::string& model) {
  const auto fail_whole = [&](std::string found, std::string expected) {
    throw ValidationError(
        {.where = model, .found = std::move(found), .expected = std::move(expected), .remedy = {}});
  };
  if (graph.stages.size() < 2) fail_whole("too few stages", "an embedding and a head or a layer");
  for (const GraphWeight& weight : graph.weights) {
    const auto count = checked_product(weight.shape);
    if (!count || *count == 0) fail_whole("an empty weight " + weight.name, "values");
  }
  for (const Stage& stage : graph.stages) {
    StageChecker(graph, stage, model)
        .run(&stage == &graph.stages.front(), &stage == &graph.stages.back() && !graph.is_encoder);
  }
}

}  // namespace qwodel
