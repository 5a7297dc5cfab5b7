#include "models/feed_forward_graph.h"

#include <string>

namespace qwodel {
namespace {

ValueId activate(GraphBuilder& graph, ActivationKind kind, ValueId x) {
  return graph.add_op(ActivationOp{kind}, {x}, graph.width(x));
}

// ffn_up, ffn_gate and ffn_down with `suffix` after their names.
ValueId add_dense(GraphBuilder& graph, const DecoderSettings& model, const std::string& block,
                  const std::string& suffix, ValueId x) {
  const std::string gate_name = block + "ffn_gate" + suffix;
  const std::string down_name = block + "ffn_down" + suffix;
  ValueId hidden;
  if (graph.has(gate_name + ".weight")) {
    const ValueId gate = activate(graph, model.activation, graph.linear(x, gate_name));
    hidden = graph.mul(gate, graph.linear(x, block + "ffn_up" + suffix));
  } else {
    const ValueId up = graph.linear(x, block + "ffn_up" + suffix);
    const std::uint64_t width = graph.width(up);
    const auto& down = graph.require(down_name + ".weight").shape;
    const bool fused = !down.empty() && width % 2 == 0 && down.back() == width / 2;
    if (fused) {
      const ValueId gate = activate(graph, model.activation, graph.slice(up, 1, 0, width / 2));
      hidden = graph.mul(gate, graph.slice(up, 1, width / 2, width / 2));
    } else {
      hidden = activate(graph, model.activation, up);
    }
  }
  return graph.linear(hidden, down_name);
}

ValueId add_experts(GraphBuilder& graph, const DecoderSettings& model, const std::string& block,
                    ValueId x) {
  RouteOp route = model.route;
  route.selection_bias = graph.find_weight(block + "exp_probs_b.bias", {model.experts});
  const ValueId logits = graph.linear(x, block + "ffn_gate_inp");
  const ValueId routing = graph.add_op(route, {logits}, route.top_k, RowKind::routing);
  const auto linear = [&](ValueId input, const char* name) {
    return graph.expert_linear(input, routing, block + name, model.experts);
  };
  const ValueId gate = activate(graph, model.activation, linear(x, "ffn_gate_exps"));
  const ValueId hidden = graph.mul(gate, linear(x, "ffn_up_exps"));
  const ValueId down = linear(hidden, "ffn_down_exps");
  return graph.add_op(CombineOp{}, {down, routing}, graph.width(down), RowKind::tokens);
}

// One expert that every token sees, possibly weighted by a gate of its own.
ValueId add_shared_expert(GraphBuilder& graph, const DecoderSettings& model,
                          const std::string& block, ValueId x) {
  const ValueId shared = add_dense(graph, model, block, "_shexp", x);
  const std::string gate = block + "ffn_gate_inp_shexp";
  if (!graph.has(gate + ".weight")) return shared;
  return graph.mul(shared, activate(graph, ActivationKind::sigmoid, graph.linear(x, gate)));
}

}  // namespace

ValueId add_feed_forward(GraphBuilder& graph, const DecoderSettings& model, std::uint64_t layer,
                         ValueId x) {
  const std::string block = block_name(layer);
  if (!graph.has(block + "ffn_gate_inp.weight")) return add_dense(graph, model, block, "", x);
  const ValueId routed = add_experts(graph, model, block, x);
  if (!graph.has(block + "ffn_down_shexp.weight")) return routed;
  return graph.add(routed, add_shared_expert(graph, model, block, x));
}

}  // namespace qwodel
