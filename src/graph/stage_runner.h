// Runs one stage on one batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "graph/aligned_buffer.h"
#include "graph/attention.h"
#include "graph/batch.h"
#include "graph/buffer_pool.h"
#include "graph/executor.h"
#include "graph/experts.h"
#include "graph/factor_rows.h"
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

// Values of one batch that later operations of the stage read. `factors` are those that only
// linears read whose products are made of bf16: rounded to it.
struct LiveValues {
  std::map<ValueId, AlignedBuffer<float>> rows;
  std::map<ValueId, AlignedBuffer<std::uint16_t>> factors;
  std::map<ValueId, Routing> routings;
};

class StageRunner {
 public:
  // Operations [0, ops) of a stage; `output` is the value to return. `observer` may be null. A
  // segment ends before each of the operations `cuts` (rising).
  StageRunner(const Machine& machine, std::size_t stage, std::size_t ops, ValueId output,
              ActivationObserver* observer, std::span<const std::size_t> cuts = {});

  // `input` has the rows of the stage's input (nothing for the first stage). Returns those of the
  // output.
  AlignedBuffer<float> run(const Batch& batch, AlignedBuffer<float> input);

  // One segment: takes what is live before it and returns what is after it. The first takes the
  // stage's input, the last returns its output.
  LiveValues run_segment(std::size_t segment, const Batch& batch, LiveValues live);

  std::size_t segments() const { return segments_.size() - 1; }

  // Rows that a value has in a batch of so many tokens.
  std::size_t rows_of(ValueId value, std::size_t tokens) const {
    return tokens * static_cast<std::size_t>(schedule_.rows_per_token[value]);
  }

 private:
  void bind(const Batch& batch, LiveValues live);
  LiveValues unbind();
  void run_step(const Step& step, const Batch& batch);
  void run_tiles(const Step& step, const Batch& batch);
  void run_attention(std::size_t at, const AttentionOp& attention, const Batch& batch);
  void observe(const Step& step);
  void release(const Step& step);
  void allocate(ValueId value, std::size_t tokens);
  bool is_factor(ValueId value) const;
  AlignedBuffer<std::uint16_t> rounded(ValueId value) const;
  MatrixView view(ValueId value) const { return views_[value]; }
  FactorRows factor(ValueId value) const;

  Machine machine_;
  std::size_t stage_index_;
  const Stage* stage_;
  ValueId output_;
  ActivationObserver* observer_;
  Schedule schedule_;
  std::vector<std::size_t> segments_;  // first step of each, and the end

  // Values of the batch that is running.
  std::vector<AlignedBuffer<float>> buffers_;
  std::vector<MatrixView> views_;
  std::vector<AlignedBuffer<std::uint16_t>> factor_buffers_;
  std::vector<Matrix<const std::uint16_t>> factors_;
  std::map<ValueId, Routing> routings_;
};

}  // namespace qwodel
