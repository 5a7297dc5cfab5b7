#include "calibrate/linear_input.h"

#include <algorithm>
#include <optional>

namespace qwodel {
namespace {

struct Reader {
  InputParts kind;
  WeightId weight;
  std::uint64_t width;
  std::uint64_t parts;
};

std::optional<Reader> reader_of(const Graph& graph, const Stage& stage, const Op& op) {
  if (const auto* linear = std::get_if<LinearOp>(&op.kind)) {
    return Reader{InputParts::whole, linear->weight, stage.values[op.inputs[0]].width, 1};
  }
  if (const auto* experts = std::get_if<ExpertLinearOp>(&op.kind)) {
    const auto& shape = graph.weights[experts->weight].shape;
    return Reader{InputParts::experts, experts->weight, shape[2], shape[0]};
  }
  if (const auto* heads = std::get_if<HeadLinearOp>(&op.kind)) {
    const auto& shape = graph.weights[heads->weight].shape;
    return Reader{InputParts::heads, heads->weight, shape[2], shape[0]};
  }
  return std::nullopt;
}

}  // namespace

std::vector<LinearInput> linear_inputs(const Graph& graph) {
  std::vector<LinearInput> inputs;
  for (std::size_t s = 0; s < graph.stages.size(); ++s) {
    const Stage& stage = graph.stages[s];
    const std::size_t first_of_stage = inputs.size();
    for (std::size_t i = 0; i < stage.ops.size(); ++i) {
      const auto reader = reader_of(graph, stage, stage.ops[i]);
      if (!reader) continue;
      const ValueId value = stage.ops[i].inputs[0];
      const auto same = std::find_if(inputs.begin() + static_cast<std::ptrdiff_t>(first_of_stage),
                                     inputs.end(), [&](const LinearInput& other) {
                                       return stage.ops[other.op].inputs[0] == value &&
                                              other.kind == reader->kind;
                                     });
      if (same != inputs.end()) {
        same->weights.push_back(reader->weight);
      } else {
        inputs.push_back({.stage = s,
                          .op = i,
                          .kind = reader->kind,
                          .width = reader->width,
                          .parts = reader->parts,
                          .weights = {reader->weight}});
      }
    }
  }
  return inputs;
}

}  // namespace qwodel
