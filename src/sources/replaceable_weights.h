// The weights of a graph, some of whose stored tensors are replaced while it runs: by what they
// decode to once they are quantized, or by what scales make of them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "graph/graph.h"
#include "graph/graph_weights.h"
#include "models/model_spec.h"
#include "sources/graph_weights.h"
#include "sources/model_tensor_reader.h"
#include "sources/weights.h"

namespace qwodel {

// Everything must outlive it. Tensors are replaced as the checkpoint has them (rows in its own
// order, norms without the one that is added), so every weight that is made of one changes.
class ReplaceableWeights final : public GraphWeights {
 public:
  // Gives values [first, first + out.size()) of the stored tensor, from several threads.
  using Values = std::function<void(std::uint64_t first, std::span<float> out)>;

  ReplaceableWeights(const Graph& graph, const ModelSpec& spec, const Weights& weights);
  ~ReplaceableWeights() override;

  // `source` is an index into ModelSpec::sources. Empty values: the stored tensor again. Not while
  // a weight is read.
  void replace(std::uint32_t source, Values values);

  // The model's tensors with what is replaced, one per ModelSpec::tensors.
  const std::vector<ModelTensorReader>& readers() const { return readers_; }

  void read(WeightId weight, std::uint64_t first, std::span<float> out) const override;
  void will_need(WeightId weight) const override;
  void done_with(WeightId weight) const override;

 private:
  class Tensor;

  std::vector<std::unique_ptr<Tensor>> tensors_;  // by source
  std::vector<ModelTensorReader> readers_;        // by tensor of the spec
  std::unique_ptr<CheckpointWeights> weights_;
};

}  // namespace qwodel
