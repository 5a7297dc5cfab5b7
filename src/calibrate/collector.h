// Collects statistics of linears' inputs during a forward pass.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "calibrate/linear_input.h"
#include "calibrate/part_grams.h"
#include "calibrate/statistics.h"
#include "graph/executor.h"
#include "graph/task_threads.h"

namespace qwodel {

struct CollectorOptions {
  ComputeType compute = ComputeType::f32;  // that of the executor
  int threads = 0;
  bool with_gram = false;
  // For a stage's Gram matrices, in double. Rows of inputs whose matrices find no room go to a file
  // in `scratch` until the stage ends; the values are the same.
  std::uint64_t gram_memory = std::uint64_t{2} << 30;
  std::filesystem::path scratch = {};
};

// One stage's sums are in memory; when it ends they are handed out and freed.
class StatisticsCollector : public ActivationObserver {
 public:
  // Called for each input of a stage that ended, then once for the stage.
  struct Sink {
    std::function<void(std::size_t input, InputSums sums)> on_sums;  // without Gram matrices
    // Values of InputSums::gram from `first` on; may be empty without with_gram.
    std::function<void(std::size_t input, std::uint64_t first, std::span<const float> values)>
        on_gram;
    std::function<void(std::size_t stage)> on_stage_end;  // may be empty
  };

  // `graph` must outlive the collector.
  StatisticsCollector(const Graph& graph, CollectorOptions options, Sink sink);

  void on_input(std::size_t stage, std::size_t op, std::size_t part, ConstMatrixView rows) override;

  // Throws ValidationError, naming a weight that reads it, when a sum is not finite.
  void on_stage_end(std::size_t stage) override;

 private:
  struct Sums {
    InputSums sums;
    std::optional<PartGrams> gram;
  };

  Sums& sums_of(std::size_t input);
  void finish(std::size_t input);
  [[noreturn]] void refuse_not_finite(std::size_t input) const;

  const Graph* graph_;
  CollectorOptions options_;
  TaskThreads threads_;
  Sink sink_;
  std::vector<LinearInput> inputs_;
  std::map<std::pair<std::size_t, std::size_t>, std::size_t> by_op_;  // stage and operation
  std::map<std::size_t, Sums> running_;                               // by input
  std::uint64_t gram_held_ = 0;
};

// Names of an input's weights, and its sizes.
std::vector<StatisticsInput> statistics_inputs(const Graph& graph);

}  // namespace qwodel
