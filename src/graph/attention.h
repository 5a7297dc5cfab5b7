// Softmax attention in tiles of queries and keys, with the running maximum and sum of
// FlashAttention (Dao et al. 2022): no matrix of tokens x tokens exists.
#pragma once

#include "core/matrix.h"
#include "graph/batch.h"
#include "graph/executor.h"
#include "graph/graph.h"
#include "graph/task_threads.h"

namespace qwodel {

// Keys and values of one sequence, all positions up to its last row.
struct KeysAndValues {
  ConstMatrixView keys;
  ConstMatrixView values;
};

// `queries` and `out` are those of the batch; `sequences` has an entry per sequence of it.
void attention(const AttentionOp& op, const Batch& batch, ConstMatrixView queries,
               std::span<const KeysAndValues> sequences, MatrixView out, ComputeType compute,
               const TaskThreads& threads);

}  // namespace qwodel
