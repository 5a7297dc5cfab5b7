// The vocabulary's product, tile by tile.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/matrix.h"
#include "graph/stage_runner.h"

namespace qwodel {

// Where the last stage makes the vocabulary's columns.
struct Head {
  std::size_t stage = 0;
  std::size_t linear = 0;  // index of the LinearOp
};

// Throws ValidationError when there is none.
Head find_head(const Graph& graph);

// Logits of rows that the head's linear reads, for vocabulary columns [first_column, first_column +
// out.cols).
void compute_logits(const Machine& machine, const Head& head, ConstMatrixView hidden,
                    std::uint64_t first_column, MatrixView out);

}  // namespace qwodel
