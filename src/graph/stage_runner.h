// Runs one stage on one batch.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <vector>

#include "graph/aligned_buffer.h"
#include "graph/attention.h"
#include "graph/batch.h"
#include "graph/executor.h"
#include "graph/experts.h"
#include "graph/rope_tables.h"
#include "graph/schedule.h"
#include "graph/task_threads.h"
#include "graph/weight_cache.h"

namespace qwodel {

// What all stages of an executor share.
struct Machine {
  const Graph* graph = nullptr;
  ComputeType compute = ComputeType::f32;
  TaskThreads* threads = nullptr;
  WeightCache* weights = nullptr;
  BufferPool* buffers = nullptr;
  RopeTables* ropes = nullptr;
  const CancelToken* cancel = nullptr;
};

// Throws Error(interrupted) when the token is set.
void stop_if_cancelled(const CancelToken* cancel);

class StageRunner {
 public:
  // Operations [0, ops) of a stage; `output` is the value to return. `observer` may be null.
  StageRunner(const Machine& machine, std::size_t stage, std::size_t ops, ValueId output,
              ActivationObserver* observer);

  // `input` has the rows of the stage's input (nothing for the first stage). Returns those of the
  // output.
  AlignedBuffer<float> run(const Batch& batch, AlignedBuffer<float> input);

 private:
  void run_step(const Step& step, const Batch& batch);
  void run_tiles(const Step& step, const Batch& batch);
  void run_attention(std::size_t at, const AttentionOp& attention, const Batch& batch);
  void observe(const Step& step);
  void release(const Step& step);
  void allocate(ValueId value, std::size_t rows);
  MatrixView view(ValueId value) const { return views_[value]; }

  Machine machine_;
  std::size_t stage_index_;
  const Stage* stage_;
  ValueId output_;
  ActivationObserver* observer_;
  Schedule schedule_;

  // Values of the batch that is running.
  std::vector<AlignedBuffer<float>> buffers_;
  std::vector<MatrixView> views_;
  std::map<ValueId, Routing> routings_;
};

}  // namespace qwodel
