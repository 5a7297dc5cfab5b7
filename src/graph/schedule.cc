#include "graph/schedule.h"

#include <algorithm>

namespace qwodel {
namespace {

// Decoded weights that one step may hold at once; a single larger weight is a step's only one.
constexpr std::uint64_t kStepWeightBytes = std::uint64_t{512} << 20;

template <class... Kinds>
bool is_one_of(const OpKind& kind) {
  return (std::holds_alternative<Kinds>(kind) || ...);
}

bool runs_by_rows(const Op& op) {
  return !is_one_of<AttentionOp, RouteOp, ExpertLinearOp, CombineOp>(op.kind);
}

// Their output may replace their first input.
bool works_in_place(const Op& op) {
  return is_one_of<NormOp, RopeOp, ActivationOp, AddOp, MulOp, ScaleOp, SoftcapOp, ClampOp>(
      op.kind);
}

std::vector<std::uint64_t> rows_per_token(const Stage& stage) {
  std::vector<std::uint64_t> rows(stage.values.size(), 1);
  for (const Op& op : stage.ops) {
    const RowKind kind = stage.values[op.output].rows;
    if (const auto* route = std::get_if<RouteOp>(&op.kind)) {
      rows[op.output] = route->top_k;
    } else if (kind == RowKind::routed) {
      const bool is_expert = std::holds_alternative<ExpertLinearOp>(op.kind);
      rows[op.output] = rows[op.inputs[is_expert ? 1 : 0]];
    }
  }
  return rows;
}

std::vector<Step> cut_into_steps(const Stage& stage, std::size_t ops,
                                 std::span<const std::size_t> cuts, const WeightCache& weights) {
  std::vector<Step> steps;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < ops; ++i) {
    const Op& op = stage.ops[i];
    const RowKind rows = stage.values[op.output].rows;
    const WeightId matrix = matrix_of(op);
    const std::uint64_t own = matrix == kNoId ? 0 : weights.decoded_bytes(weights.whole(matrix));
    const bool joins = !steps.empty() && runs_by_rows(op) && steps.back().by_rows &&
                       steps.back().rows == rows && (own == 0 || bytes + own <= kStepWeightBytes) &&
                       std::ranges::find(cuts, i) == cuts.end();
    if (!joins) {
      steps.push_back(
          {.first = i, .last = i, .by_rows = runs_by_rows(op), .rows = rows, .slot_widths = {}});
      bytes = 0;
    }
    steps.back().last = i + 1;
    bytes += own;
  }
  return steps;
}

// Gives the values that live and die inside a step buffers of a tile, used again and again.
class SlotAssigner {
 public:
  SlotAssigner(const Stage& stage, Schedule& schedule, Step& step)
      : stage_(stage), schedule_(schedule), step_(step) {}

  void assign(const std::vector<bool>& kept) {
    for (std::size_t i = step_.first; i < step_.last; ++i) {
      const Op& op = stage_.ops[i];
      if (!kept[op.output]) schedule_.slots[op.output] = slot_for(op, i);
      for (const ValueId input : op.inputs) release(input, i);
      release(op.output, i);
    }
  }

 private:
  std::uint32_t slot_for(const Op& op, std::size_t at) {
    const std::uint64_t width = stage_.values[op.output].width;
    if (works_in_place(op)) {
      const ValueId input = op.inputs.front();
      const std::uint32_t slot = schedule_.slots[input];
      if (slot != kNoId && schedule_.last_use[input] == at && stage_.values[input].width == width &&
          owner_[slot] == input) {
        owner_[slot] = op.output;
        return slot;
      }
    }
    for (std::uint32_t slot = 0; slot < owner_.size(); ++slot) {
      if (owner_[slot] == kNoId && step_.slot_widths[slot] == width) {
        owner_[slot] = op.output;
        return slot;
      }
    }
    owner_.push_back(op.output);
    step_.slot_widths.push_back(width);
    return static_cast<std::uint32_t>(owner_.size() - 1);
  }

  void release(ValueId value, std::size_t at) {
    const std::uint32_t slot = schedule_.slots[value];
    if (slot == kNoId || schedule_.last_use[value] > at) return;
    if (slot < owner_.size() && owner_[slot] == value) owner_[slot] = kNoId;
  }

  const Stage& stage_;
  Schedule& schedule_;
  Step& step_;
  std::vector<ValueId> owner_;  // of each slot
};

}  // namespace

WeightId matrix_of(const Op& op) {
  if (const auto* linear = std::get_if<LinearOp>(&op.kind)) return linear->weight;
  if (const auto* heads = std::get_if<HeadLinearOp>(&op.kind)) return heads->weight;
  return kNoId;
}

bool is_linear(const Op& op) { return is_one_of<LinearOp, HeadLinearOp, ExpertLinearOp>(op.kind); }

Schedule make_schedule(const Stage& stage, std::size_t ops, ValueId output, bool observed,
                       std::span<const std::size_t> cuts, const WeightCache& weights) {
  Schedule schedule;
  schedule.steps = cut_into_steps(stage, ops, cuts, weights);
  schedule.slots.assign(stage.values.size(), kNoId);
  schedule.last_use.assign(stage.values.size(), 0);
  schedule.rows_per_token = rows_per_token(stage);
  std::vector<std::size_t> made_in(stage.values.size(), schedule.steps.size());
  std::vector<bool> kept(stage.values.size(), false);
  if (output != kNoId) kept[output] = true;
  for (std::size_t s = 0; s < schedule.steps.size(); ++s) {
    for (std::size_t i = schedule.steps[s].first; i < schedule.steps[s].last; ++i) {
      const Op& op = stage.ops[i];
      made_in[op.output] = s;
      if (!schedule.steps[s].by_rows) kept[op.output] = true;
      schedule.last_use[op.output] = i;
      for (const ValueId input : op.inputs) {
        schedule.last_use[input] = i;
        if (made_in[input] != s || (observed && is_linear(op))) kept[input] = true;
      }
    }
  }
  if (output != kNoId) schedule.last_use[output] = stage.ops.size();
  for (Step& step : schedule.steps) {
    if (step.by_rows) SlotAssigner(stage, schedule, step).assign(kept);
  }
  return schedule;
}

}  // namespace qwodel
