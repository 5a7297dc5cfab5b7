// Collects statistics of linears' inputs during a forward pass.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "calibrate/gram_sum.h"
#include "calibrate/linear_input.h"
#include "calibrate/statistics.h"
#include "graph/executor.h"
#include "graph/task_threads.h"

namespace qwodel {

// One stage's sums are in memory; when it ends they are handed out and freed.
class StatisticsCollector : public ActivationObserver {
 public:
  // Called for each input of a stage that ended, in the order of linear_inputs(), then once for the
  // stage.
  struct Sink {
    std::function<void(std::size_t input, InputSums sums)> on_sums;
    std::function<void(std::size_t stage)> on_stage_end;  // may be empty
  };

  // `compute` is that of the executor. `graph` must outlive the collector.
  StatisticsCollector(const Graph& graph, ComputeType compute, bool with_gram, int threads,
                      Sink sink);

  void on_input(std::size_t stage, std::size_t op, std::size_t part, ConstMatrixView rows) override;

  // Throws ValidationError, naming a weight that reads it, when a sum is not finite.
  void on_stage_end(std::size_t stage) override;

 private:
  struct Sums {
    InputSums sums;
    std::vector<GramSum> gram;  // one per part
  };

  Sums& sums_of(std::size_t input);
  void check_finite(std::size_t input, const InputSums& sums) const;

  const Graph* graph_;
  ComputeType compute_;
  bool with_gram_;
  TaskThreads threads_;
  Sink sink_;
  std::vector<LinearInput> inputs_;
  std::map<std::pair<std::size_t, std::size_t>, std::size_t> by_op_;  // stage and operation
  std::map<std::size_t, Sums> running_;                               // by input
};

// Names of an input's weights, and its sizes.
std::vector<StatisticsInput> statistics_inputs(const Graph& graph);

}  // namespace qwodel
