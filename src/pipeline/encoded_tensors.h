// Tensors that are encoded before their artifact is written, because each depends on those before
// it: their blocks in a file without a name, which is gone with the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <vector>

#include "graph/graph.h"
#include "graph/graph_weights.h"
#include "io/atomic_file.h"
#include "pipeline/tile_encoder.h"
#include "plan/tensor_plan.h"

namespace qwodel {

// What is written by one thread or several may be read by all once the tensor is finished.
class EncodedTensors final : public RowEncoder {
 public:
  // Room for some tensors of the plan, by index, in the folder of `artifact`; tiles of the others
  // go to `others`, which may be null. Everything outlives it. Throws DependencyError
  // (not_enough_space when the disk is full).
  EncodedTensors(const std::filesystem::path& artifact, const std::vector<PlanInput>& inputs,
                 const TensorPlan& plan, std::span<const std::size_t> tensors,
                 const RowEncoder* others);

  // Blocks of rows [first_row, ...) of a tensor.
  void write(std::size_t tensor, std::uint64_t first_row, std::span<const std::byte> blocks);

  // All rows of it are written.
  void finish(std::size_t tensor) { slots_.at(tensor).finished = true; }

  // Values [first, first + out.size()) of a finished tensor, decoded.
  void read(std::size_t tensor, std::uint64_t first, std::span<float> out) const;

  bool finished(std::size_t tensor) const;

  bool encodes(const Tile& tile) const override;
  void encode(const Tile& tile, ConstMatrixView values, std::byte* out) const override;

 private:
  struct Slot {
    std::uint64_t offset = 0;
    std::uint64_t row_bytes = 0;
    bool finished = false;
  };

  static std::map<std::size_t, Slot> lay_out(const std::vector<PlanInput>& inputs,
                                             const TensorPlan& plan,
                                             std::span<const std::size_t> tensors);
  static std::uint64_t size_of(const std::map<std::size_t, Slot>& slots, const TensorPlan& plan);

  const TensorPlan& plan_;
  const RowEncoder* others_;
  std::map<std::size_t, Slot> slots_;
  AtomicFile file_;
};

// The weights of a graph, finished tensors as they were encoded.
class EncodedWeights final : public GraphWeights {
 public:
  // Everything outlives it.
  EncodedWeights(const Graph& graph, const TensorPlan& plan, const GraphWeights& weights,
                 const EncodedTensors& encoded);

  void read(WeightId weight, std::uint64_t first, std::span<float> out) const override;
  void will_need(WeightId weight) const override { weights_.will_need(weight); }
  void done_with(WeightId weight) const override { weights_.done_with(weight); }

 private:
  const GraphWeights& weights_;
  const EncodedTensors& encoded_;
  std::vector<std::size_t> planned_;  // of each weight: index into the plan
};

}  // namespace qwodel
