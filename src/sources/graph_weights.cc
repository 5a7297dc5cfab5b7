#include "sources/graph_weights.h"

#include "io/mapped_file.h"

namespace qwodel {

CheckpointWeights::CheckpointWeights(const Graph& graph,
                                     std::span<const ModelTensorReader> readers) {
  readers_.reserve(graph.weights.size());
  for (const GraphWeight& weight : graph.weights) readers_.push_back(&readers[weight.tensor]);
}

void CheckpointWeights::read(WeightId weight, std::uint64_t first, std::span<float> out) const {
  readers_[weight]->read(first, out);
}

void CheckpointWeights::will_need(WeightId weight) const {
  for (const auto part : readers_[weight]->whole_storage()) read_ahead(part);
}

void CheckpointWeights::done_with(WeightId weight) const {
  for (const auto part : readers_[weight]->whole_storage()) drop_pages(part);
}

}  // namespace qwodel
