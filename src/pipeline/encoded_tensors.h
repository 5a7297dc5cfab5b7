// Tensors that are encoded before their artifact is written, because each depends on those before
// it: their blocks in a hidden folder beside the artifact, which a killed run leaves to the next.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "graph/graph_weights.h"
#include "io/atomic_directory.h"
#include "io/positioned_file.h"
#include "pipeline/linear_journal.h"
#include "pipeline/tile_encoder.h"
#include "plan/tensor_plan.h"

namespace qwodel {

// What is written by one thread or several may be read by all once the tensor is finished.
class EncodedTensors final : public RowEncoder {
 public:
  // Where blocks lie, and what they are of.
  struct Work {
    std::filesystem::path artifact;  // the file that they go into: their folder lies beside it
    std::string key;                 // of everything that they depend on
    bool resume = false;             // go on with what a run of the same key left
  };

  // Room for some tensors of the plan, by index; tiles of the others go to `others`, which may be
  // null. Everything outlives it. Throws DependencyError (not_enough_space when the disk is full),
  // ValidationError when there is work of another key to resume.
  EncodedTensors(const Work& work, const std::vector<PlanInput>& inputs, const TensorPlan& plan,
                 std::span<const std::size_t> tensors, const RowEncoder* others);

  // Blocks of rows [first_row, ...) of a tensor.
  void write(std::size_t tensor, std::uint64_t first_row, std::span<const std::byte> blocks);

  // All rows of it are written. For the caller to serialize.
  void finish(std::size_t tensor);

  // Values [first, first + out.size()) of a finished tensor, decoded.
  void read(std::size_t tensor, std::uint64_t first, std::span<float> out) const;

  // Also of what an earlier run finished.
  bool finished(std::size_t tensor) const;

  // Leaves the blocks for another run to go on with.
  void keep() { directory_.keep(); }

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
  PositionedFile open_blocks() const;
  std::string name_of(std::size_t tensor) const;
  std::uint64_t hash_of(std::size_t tensor) const;
  static std::uint64_t size_of(const std::map<std::size_t, Slot>& slots, const TensorPlan& plan);

  const std::vector<PlanInput>& inputs_;
  const TensorPlan& plan_;
  const RowEncoder* others_;
  std::map<std::size_t, Slot> slots_;
  AtomicDirectory directory_;
  LinearJournal journal_;
  PositionedFile file_;
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
