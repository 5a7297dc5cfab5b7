#include "graph/head.h"

#include <algorithm>
#include <string>

#include "graph/matmul.h"
#include "graph/row_tile.h"
#include "kernels/convert.h"
#include "kernels/row_ops.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::size_t kRows = 256;
constexpr std::size_t kColumns = 2048;  // of the vocabulary, decoded and multiplied as one

// The elementwise operations after the linear, in place.
void finish_tile(const Machine& machine, const Head& head, MatrixView tile) {
  const Stage& stage = machine.graph->stages[head.stage];
  const TileContext context{.graph = machine.graph,
                            .stage = &stage,
                            .batch = nullptr,
                            .weights = machine.weights,
                            .ropes = machine.ropes,
                            .compute = machine.compute,
                            .matrices = {},
                            .idle_threads = nullptr};
  std::vector<MatrixView> values(stage.values.size(), tile);
  const std::vector<Matrix<const std::uint16_t>> factors(values.size());
  RowTile rows{.first = 0, .count = tile.rows, .values = values, .factors = factors};
  for (std::size_t i = head.linear + 1; i < stage.ops.size(); ++i) run_on_tile(context, i, rows);
}

}  // namespace

Head find_head(const Graph& graph) {
  if (graph.is_encoder) return {graph.stages.size(), 0};
  if (!graph.stages.empty()) {
    const Stage& stage = graph.stages.back();
    for (std::size_t i = stage.ops.size(); i-- > 0;) {
      if (std::holds_alternative<LinearOp>(stage.ops[i].kind)) {
        return {graph.stages.size() - 1, i};
      }
    }
  }
  throw ValidationError({.where = "graph",
                         .found = "no linear in the last stage",
                         .expected = "one that gives the vocabulary",
                         .remedy = ""});
}

void require_logits(const Graph& graph, std::string_view where) {
  if (!graph.is_encoder) return;
  throw FormatNotSupportedError({.where = std::string(where),
                                 .found = "an encoder, which predicts no tokens",
                                 .expected = "a model with logits",
                                 .remedy = ""});
}

void compute_logits(const Machine& machine, const Head& head, ConstMatrixView hidden,
                    std::uint64_t first_column, MatrixView out) {
  require_logits(*machine.graph, "logits");
  const Op& op = machine.graph->stages[head.stage].ops[head.linear];
  const auto& linear = std::get<LinearOp>(op.kind);
  const auto bias = machine.weights->vector(linear.bias);
  std::vector<WeightRows> parts;
  for (std::size_t col = 0; col < out.cols; col += kColumns) {
    parts.push_back({linear.weight, first_column + col, std::min(kColumns, out.cols - col)});
  }
  const auto handles = machine.weights->load(parts);
  AlignedBuffer<std::uint16_t> converted;
  if (machine.compute == ComputeType::bf16) {
    converted.reserve(hidden.rows * hidden.cols);
    float_to_bfloat16(hidden.data, hidden.rows * hidden.cols, converted.data());
  }
  const Matrix<const std::uint16_t> bf16(converted.data(), hidden.rows, hidden.cols);
  const std::size_t row_tiles = (out.rows + kRows - 1) / kRows;
  machine.threads->run(row_tiles * parts.size(), [&](std::size_t i) {
    const std::size_t part = i / row_tiles;
    const std::size_t row = i % row_tiles * kRows;
    const std::size_t rows = std::min(kRows, out.rows - row);
    const PackedMatrix& matrix = handles[part]->matrices.front();
    const std::size_t cols = matrix.rows();
    const MatrixView tile = out.row_range(row, rows).col_range(part * kColumns, cols);
    if (machine.compute == ComputeType::bf16) {
      multiply_transposed(bf16.row_range(row, rows), matrix, 0, tile);
    } else {
      multiply_transposed(hidden.row_range(row, rows), matrix, 0, tile);
    }
    for (std::size_t r = 0; !bias.empty() && r < rows; ++r) {
      float* values = tile.row(r).data();
      add(values, bias.data() + first_column + part * kColumns, cols, values);
    }
    finish_tile(machine, head, tile);
  });
}

}  // namespace qwodel
