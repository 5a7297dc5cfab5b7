// Decoded weights in the type that products want.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "core/matrix.h"
#include "graph/executor.h"
#include "graph/graph.h"
#include "graph/graph_weights.h"
#include "graph/matmul.h"
#include "graph/task_threads.h"

namespace qwodel {

// Rows of a weight seen as a matrix [product of all axes but the last, last axis].
struct WeightRows {
  WeightId weight = kNoId;
  std::uint64_t first = 0;
  std::uint64_t count = 0;

  auto operator<=>(const WeightRows&) const = default;
};

// A matrix per head or expert of what was loaded, else one; all of the same height.
struct DecodedWeight {
  std::vector<PackedMatrix> matrices;

  std::size_t rows() const { return matrices.size() * matrices.front().rows(); }
};

using WeightHandle = std::shared_ptr<const DecodedWeight>;

// Holds what it decoded as long as there is room; what finds none lives as long as its handle and
// is decoded again at the next load. get() and vector() may be called from several threads.
class WeightCache {
 public:
  // All must outlive the cache. `compute` is f32 or bf16, `capacity` in bytes.
  WeightCache(const Graph& graph, const GraphWeights& weights, ComputeType compute,
              const TaskThreads& threads, std::uint64_t capacity);

  // Decodes in parallel; call it from outside tasks. Same order as `parts`.
  std::vector<WeightHandle> load(std::span<const WeightRows> parts);

  // A bias, norm or other small weight as f32; empty for kNoId. Kept until drop().
  std::span<const float> vector(WeightId weight);

  // Values [first, first + out.size()) straight from the source.
  void read(WeightId weight, std::uint64_t first, std::span<float> out) const {
    weights_->read(weight, first, out);
  }

  // All rows of a weight.
  WeightRows whole(WeightId weight) const;

  // Frees what is held of a weight.
  void drop(WeightId weight);

  std::uint64_t decoded_bytes(const WeightRows& part) const;

 private:
  std::shared_ptr<DecodedWeight> make_empty(const WeightRows& part) const;
  void decode(WeightId weight, std::uint64_t from_row, std::size_t first, std::size_t count,
              PackedMatrix& out) const;
  std::uint64_t columns(WeightId weight) const;

  const Graph* graph_;
  const GraphWeights* weights_;
  ComputeType compute_;
  const TaskThreads* threads_;
  std::uint64_t capacity_;
  std::uint64_t held_ = 0;
  std::map<WeightRows, WeightHandle> matrices_;
  std::mutex vectors_mutex_;
  std::map<WeightId, std::vector<float>> vectors_;
};

}  // namespace qwodel
