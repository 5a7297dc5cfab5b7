// A tile of rows and the operations that treat every row by itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/matrix.h"
#include "graph/aligned_buffer.h"
#include "graph/batch.h"
#include "graph/executor.h"
#include "graph/graph.h"
#include "graph/rope_tables.h"
#include "graph/task_threads.h"
#include "graph/weight_cache.h"

namespace qwodel {

// What all tiles of a step share.
struct TileContext {
  const Graph* graph = nullptr;
  const Stage* stage = nullptr;
  const Batch* batch = nullptr;
  WeightCache* weights = nullptr;
  RopeTables* ropes = nullptr;
  ComputeType compute = ComputeType::f32;
  std::span<const WeightHandle> matrices;     // of each operation of the stage, where it has one
  const TaskThreads* idle_threads = nullptr;  // when the step has one tile only
};

// Rows [first, first + count) of the batch (of its routed rows for values that have these).
struct RowTile {
  std::size_t first = 0;
  std::size_t count = 0;
  std::span<MatrixView> values;  // of each value of the stage that the step knows: these rows
  std::span<const Matrix<const std::uint16_t>> factors;  // the same of values that are bf16 already

  // The last value converted to bf16: linears that share an input convert it once.
  AlignedBuffer<std::uint16_t>* converted = nullptr;
  ValueId converted_value = kNoId;
};

// REQUIRES: the operation treats rows by themselves.
void run_on_tile(const TileContext& context, std::size_t op, RowTile& tile);

}  // namespace qwodel
