// Rows of activations as columns, for products over tokens.
#pragma once

#include <algorithm>
#include <cstddef>

#include "core/matrix.h"
#include "graph/aligned_buffer.h"
#include "graph/task_threads.h"
#include "kernels/column_sums.h"

namespace qwodel {

// Products are compiled per number of rows; batches of experts have any number. Zeros add nothing.
constexpr std::size_t padded_rows(std::size_t rows) {
  constexpr std::size_t kMultiple = 256;
  return (rows + kMultiple - 1) / kMultiple * kMultiple;
}

// Distance of the rows of X^T: a power of two would put a whole column of a transposed square into
// one set of the cache.
constexpr std::size_t transposed_stride(std::size_t rows) { return padded_rows(rows) + 32; }

// X^T [cols, padded_rows] in `buffer`, zeros behind the last row; T is float or, as bfloat16,
// std::uint16_t.
template <class T>
const T* transposed_rows(ConstMatrixView rows, const TaskThreads& threads,
                         AlignedBuffer<T>& buffer) {
  constexpr std::size_t kColumnsPerTask = 64;
  const std::size_t stride = transposed_stride(rows.rows);
  buffer.reserve(rows.cols * stride);
  T* const out = buffer.data();
  threads.run((rows.cols + kColumnsPerTask - 1) / kColumnsPerTask, [&](std::size_t i) {
    const std::size_t first = i * kColumnsPerTask;
    const std::size_t count = std::min(kColumnsPerTask, rows.cols - first);
    T* const to = out + first * stride;
    for (std::size_t c = 0; c < count; ++c) {
      std::fill(to + c * stride + rows.rows, to + (c + 1) * stride, T{0});
    }
    if constexpr (sizeof(T) == 2) {
      transpose_to_bfloat16(rows.col_range(first, count), stride, to);
    } else {
      transpose(rows.col_range(first, count), stride, to);
    }
  });
  return out;
}

}  // namespace qwodel
