// Products with a matrix of single precision, as fast as those of bf16.
//
// In bf16 every value of the matrix is the sum of two, which together have 16 bits of mantissa; the
// rows it is multiplied with are rounded to one. That is right for errors of weights, whose
// rounding averages out, and second moments, whose small differences matter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/matrix.h"
#include "graph/aligned_buffer.h"
#include "graph/compute_type.h"
#include "graph/matmul.h"

namespace qwodel {

// The other factor of a product.
class SplitRows {
 public:
  // `compute` is f32 or bf16. In f32 `rows` must stay as they are.
  void assign(ConstMatrixView rows, ComputeType compute);

 private:
  friend class SplitFactor;

  ConstMatrixView plain_;                                // of f32
  AlignedBuffer<std::uint16_t> doubled_ = {};            // of bf16: every value twice
  Matrix<const std::uint16_t> twice_ = {nullptr, 0, 0};  // [rows, 2 columns]
};

// What a thread multiplies in.
struct SplitBuffers {
  SplitRows rows;
  std::vector<float> product;
};

class SplitFactor {
 public:
  SplitFactor(ConstMatrixView values, ComputeType compute);

  std::size_t rows() const { return packed_.rows(); }

  // out [rows of x, rows()] = the first columns of x times the values, transposed. REQUIRES: x was
  // assigned in the same type. Thread-safe.
  void multiply(const SplitRows& x, MatrixView out) const;

 private:
  ComputeType compute_;
  PackedMatrix packed_;  // in bf16 [rows, 2 columns]: high and low parts take turns
};

}  // namespace qwodel
