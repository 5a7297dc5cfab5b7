// What an executor is made of, for the passes that run its stages.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "graph/batch.h"
#include "graph/buffer_pool.h"
#include "graph/executor.h"
#include "graph/head.h"
#include "graph/rope_tables.h"
#include "graph/stage_runner.h"
#include "graph/task_threads.h"
#include "graph/weight_cache.h"

namespace qwodel {

struct Executor::State {
  State(const Graph& model, const GraphWeights& source, ExecutorOptions given)
      : graph(model),
        weights(source),
        options(std::move(given)),
        compute(resolved(options.compute)),
        threads(options.threads),
        cache(graph, weights, compute, threads, options.weight_memory),
        buffers(options.buffers ? options.buffers : std::make_shared<BufferPool>()),
        head(find_head(graph)),
        machine{.graph = &graph,
                .compute = compute,
                .threads = &threads,
                .weights = &cache,
                .buffers = buffers.get(),
                .ropes = &ropes,
                .cancel = options.cancel} {}

  const Graph& graph;
  const GraphWeights& weights;
  ExecutorOptions options;
  ComputeType compute;
  TaskThreads threads;
  WeightCache cache;
  std::shared_ptr<BufferPool> buffers;
  RopeTables ropes;
  Head head;
  Machine machine;

  // Batches of whole sequences. Throws ValidationError for what forward() refuses.
  std::vector<Batch> make_batches(const TokenSequences& sequences) const;

  std::vector<WeightId> stage_weights(std::size_t stage) const;
  std::uint64_t stage_bytes(std::size_t stage) const;  // of weights, decoded

  // Throws ValidationError naming the stage.
  void check_finite(const Stage& stage, const AlignedBuffer<float>& values,
                    std::size_t width) const;

  StageRunner runner(std::size_t stage, ActivationObserver* observer,
                     std::span<const std::size_t> cuts = {}) const;

  // Weights are needed soon; not again in this pass.
  void begin_stage(std::size_t stage) const;
  void finish_stage(std::size_t stage);
};

}  // namespace qwodel
