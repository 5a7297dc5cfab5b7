// The vocabulary's product, tile by tile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/matrix.h"
#include "graph/stage_runner.h"

namespace qwodel {

// Where the last stage makes the vocabulary's columns.
struct Head {
  std::size_t stage = 0;
  std::size_t linear = 0;  // index of the LinearOp
};

// A stage after the last for an encoder. Throws ValidationError when another graph has none.
Head find_head(const Graph& graph);

// Throws FormatNotSupportedError, naming `where`, for an encoder.
void require_logits(const Graph& graph, std::string_view where);

// Logits of rows that the head's linear reads, for vocabulary columns [first_column, first_column +
// out.cols). Throws FormatNotSupportedError for an encoder.
void compute_logits(const Machine& machine, const Head& head, ConstMatrixView hidden,
                    std::uint64_t first_column, MatrixView out);

}  // namespace qwodel
