#include "targets/coreml/head_order.h"

#include <vector>

namespace qwodel {
namespace {

// Who makes and reads the values of a stage, and how often a weight of the graph is used.
class Uses {
 public:
  explicit Uses(const Graph& graph) : weights_(graph.weights.size(), 0) {
    for (const Stage& stage : graph.stages) {
      for (const Op& op : stage.ops) count(op);
    }
  }

  void open(const Stage& stage) {
    stage_ = &stage;
    makers_.assign(stage.values.size(), nullptr);
    readers_.assign(stage.values.size(), 0);
    for (const Op& op : stage.ops) {
      makers_[op.output] = &op;
      for (const ValueId id : op.inputs) ++readers_[id];
    }
  }

  // The operation of kind T that makes a value which is read once.
  template <class T>
  const Op* sole_maker(ValueId id) const {
    const Op* op = makers_[id];
    const bool fits = op != nullptr && readers_[id] == 1 && id != stage_->output &&
                      std::holds_alternative<T>(op->kind);
    return fits ? op : nullptr;
  }

  bool used_once(WeightId id) const { return id == kNoId || weights_[id] == 1; }

 private:
  void count(const Op& op) {
    if (const auto* linear = std::get_if<LinearOp>(&op.kind)) {
      ++weights_[linear->weight];
      if (linear->bias != kNoId) ++weights_[linear->bias];
    } else if (const auto* embedding = std::get_if<EmbeddingOp>(&op.kind)) {
      ++weights_[embedding->weight];
    }
  }

  std::vector<int> weights_;
  const Stage* stage_ = nullptr;
  std::vector<const Op*> makers_;
  std::vector<int> readers_;
};

struct RotatedProjection {
  const Op* rope = nullptr;
  const LinearOp* linear = nullptr;
  HeadOrder order;
};

RotatedProjection rotated_projection(const Uses& uses, ValueId id) {
  const Op* op = uses.sole_maker<RopeOp>(id);
  if (op == nullptr) return {};
  const auto& rope = std::get<RopeOp>(op->kind);
  if (rope.layout != RopeLayout::interleaved) return {};
  const Op* made = uses.sole_maker<LinearOp>(op->inputs.front());
  if (made == nullptr) return {};
  const auto& linear = std::get<LinearOp>(made->kind);
  if (!uses.used_once(linear.weight) || !uses.used_once(linear.bias)) return {};
  return {op, &linear, {rope.head_dim, rope.first, rope.frequencies.size()}};
}

}  // namespace

HeadOrders find_head_orders(const Graph& graph) {
  HeadOrders orders;
  Uses uses(graph);
  for (const Stage& stage : graph.stages) {
    uses.open(stage);
    for (const Op& op : stage.ops) {
      if (!std::holds_alternative<AttentionOp>(op.kind)) continue;
      const RotatedProjection q = rotated_projection(uses, op.inputs[0]);
      const RotatedProjection k = rotated_projection(uses, op.inputs[1]);
      if (q.rope == nullptr || k.rope == nullptr || q.order != k.order) continue;
      for (const RotatedProjection& projection : {q, k}) {
        orders.ropes.insert(projection.rope);
        orders.weights[projection.linear->weight] = projection.order;
        if (projection.linear->bias != kNoId) {
          orders.weights[projection.linear->bias] = projection.order;
        }
      }
    }
  }
  return orders;
}

}  // namespace qwodel
