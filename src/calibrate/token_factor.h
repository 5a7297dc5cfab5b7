// Rows of activations as factors of products over tokens, A^T B: what X^T X and (Y - X)^T X are
// made of.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/matrix.h"
#include "graph/aligned_buffer.h"
#include "graph/executor.h"
#include "graph/factor_rows.h"
#include "graph/matmul.h"
#include "graph/task_threads.h"

namespace qwodel {

// Columns of a factor.
struct ColumnRange {
  std::size_t first = 0;
  std::size_t count = 0;
};

class TokenFactor {
 public:
  // `compute` is f32 or bf16: the type that values are rounded to.
  explicit TokenFactor(ComputeType compute) : compute_(compute) {}

  // Takes a copy of `rows`.
  void assign(const FactorRows& rows, const TaskThreads& threads);

  // Takes y - x, both [rows, width] and of the same type.
  void assign_difference(const FactorRows& y, const FactorRows& x, const TaskThreads& threads);

  // out [left.count, right.count] = columns of this, transposed, times columns of `other`, which
  // has as many rows; or added to what is there. Thread-safe.
  void multiply(ColumnRange left, const TokenFactor& other, ColumnRange right, MatrixView out,
                Output output = Output::replace) const;

 private:
  template <class T>
  Matrix<const T> columns(ColumnRange range) const;
  template <class Fill>
  void assign_rows(std::size_t rows, std::size_t width, const TaskThreads& threads,
                   const Fill& fill);

  ComputeType compute_;
  std::size_t rows_ = 0;  // with those of zeros
  std::size_t stride_ = 0;
  AlignedBuffer<float> values_;           // of f32
  AlignedBuffer<std::uint16_t> rounded_;  // of bf16
};

}  // namespace qwodel
