// A model opened for running it.
#pragma once

#include "graph/executor.h"
#include "graph/graph.h"
#include "pipeline/source_model.h"
#include "qwodel/run.h"
#include "sources/graph_weights.h"

namespace qwodel {

// Not movable: its parts point at each other.
struct RunningModel {
  explicit RunningModel(const RunOptions& options);
  RunningModel(const RunningModel&) = delete;
  RunningModel& operator=(const RunningModel&) = delete;

  SourceModel source;
  Graph graph;
  CheckpointWeights weights;
};

// ExecutorOptions for what a user said, for a model of such a width. Throws ValidationError (usage)
// for an unknown compute type.
ExecutorOptions executor_options(const RunOptions& options, std::uint64_t hidden_size);

// "f32" or "bf16".
std::string name_of(ComputeType compute);

}  // namespace qwodel
