// The inputs of a model's linears one after the other, each as it is when the linears before it
// have been replaced by what they were quantized to.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "calibrate/cross_sum.h"
#include "calibrate/gram_sum.h"
#include "calibrate/linear_input.h"
#include "calibrate/token_factor.h"
#include "graph/executor.h"
#include "graph/factor_rows.h"
#include "graph/graph_weights.h"
#include "graph/segmented_pass.h"
#include "graph/task_threads.h"
#include "methods/second_moments.h"
#include "pipeline/phase_times.h"

namespace qwodel {

class SequentialMoments {
 public:
  // Stops at `inputs`, in the order of the graph. `weights` may change between stops. `original`,
  // the weights of the model to compare with, and `times` may be null. Everything outlives it.
  SequentialMoments(const Graph& graph, const GraphWeights& weights, const GraphWeights* original,
                    const TokenSequences& sequences, const ExecutorOptions& options,
                    std::vector<LinearInput> inputs, int threads, PhaseTimes* times);

  // Runs on to the next of the inputs; null after the last. Throws as Executor::forward().
  const LinearInput* advance();

  // Of each of the input's parts (experts, heads), which rise: second moments, without rows when no
  // token reached it, and (y - x)^T x per row, y of the original model and x. The latter is empty
  // without an original, and for inputs of several parts, whose rows are others there.
  using Visit =
      std::function<void(std::size_t part, SecondMoments moments, std::span<const float> cross)>;
  void visit(std::span<const std::size_t> parts, const Visit& visit) const;

 private:
  struct PartSums;

  std::vector<PartSums> collect(std::span<const std::size_t> parts, CrossSum* differences) const;
  void add_rows(const FactorRows& x, const FactorRows* y, GramSum& gram,
                CrossSum* differences) const;

  std::vector<LinearInput> inputs_;
  TaskThreads threads_;
  PhaseTimes* times_;
  ExecutorOptions options_;  // of both executors, which run in turns
  Executor executor_;
  SegmentedPass pass_;
  std::optional<Executor> original_executor_;
  std::optional<SegmentedPass> original_;
  mutable TokenFactor inputs_factor_, difference_factor_;  // kept for their memory
  std::size_t next_ = 0;
};

}  // namespace qwodel
