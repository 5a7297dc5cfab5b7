// The Gram matrix X^T X of the rows that a linear reads, summed over batches.
//
// Rows come in runs of at most kRows; within a run sums are single precision (oneDNN), runs are
// added in double. Only tiles on and below the diagonal are computed. Tasks are tiles, so the
// result does not depend on the number of threads, nor on whether all tiles are summed at once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "calibrate/token_factor.h"
#include "core/matrix.h"
#include "graph/executor.h"
#include "graph/task_threads.h"

namespace qwodel {

class GramSum {
 public:
  static constexpr std::size_t kRows = 4096;

  // Side of a tile.
  static constexpr std::size_t kTile = 256;

  // `compute` is f32 or bf16: the type rows are rounded to before they are multiplied.
  GramSum(std::size_t width, ComputeType compute);

  // Rows [first_row, end_row) of the matrix only. REQUIRES: first_row is a multiple of kTile, and
  // end_row too or the width.
  GramSum(std::size_t width, std::size_t first_row, std::size_t end_row, ComputeType compute);

  // Memory of such a sum.
  static std::uint64_t bytes(std::size_t width, std::size_t first_row, std::size_t end_row);

  // REQUIRES: rows.cols is the width.
  void add(ConstMatrixView rows, const TaskThreads& threads);

  // The same for a run: at most kRows, of the type of this sum.
  void add(const TokenFactor& rows, const TaskThreads& threads);

  // The lower triangle, row by row; packed has as many values as these rows of it.
  void store(std::span<float> packed) const;

 private:
  struct Tile {
    std::size_t row = 0;
    std::size_t col = 0;
    std::size_t height = 0;
    std::size_t width = 0;
    std::size_t at = 0;  // of its values in sums_
  };

  std::size_t first_row_;
  ComputeType compute_;
  std::vector<Tile> tiles_;
  std::vector<double> sums_;
};

}  // namespace qwodel
