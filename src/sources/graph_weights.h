// The weights of a graph read from a checkpoint, however they are stored.
#pragma once

#include <span>
#include <vector>

#include "graph/graph.h"
#include "graph/graph_weights.h"
#include "sources/model_tensor_reader.h"

namespace qwodel {

// The graph and the readers (one per tensor of the ModelSpec) must outlive it.
class CheckpointWeights final : public GraphWeights {
 public:
  CheckpointWeights(const Graph& graph, std::span<const ModelTensorReader> readers);

  void read(WeightId weight, std::uint64_t first, std::span<float> out) const override;
  void will_need(WeightId weight) const override;
  void done_with(WeightId weight) const override;

 private:
  std::vector<const ModelTensorReader*> readers_;  // of each weight
};

}  // namespace qwodel
