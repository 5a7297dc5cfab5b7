// Products with a matrix of single precision, as fast as those of bf16.
//
// In bf16 every value of the matrix is the sum of two, which together have 16 bits of mantissa; the
// rows it is multiplied with are rounded to one. That is right for errors of weights, whose
// rounding averages out, and second moments, whose small differences matter. The high parts alone
// take half the time and are enough to put candidates in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/matrix.h"
#include "graph/aligned_buffer.h"
#include "graph/compute_type.h"
#include "graph/matmul.h"

namespace qwodel {

// What is kept of a matrix in bf16.
enum class SplitParts : std::uint8_t { both, high };

// The other factor of a product.
class SplitRows {
 public:
  // `compute` is f32 or bf16. In f32 `rows` must stay as they are.
  void assign(ConstMatrixView rows, ComputeType compute, SplitParts parts = SplitParts::both);

 private:
  friend class SplitFactor;

  ConstMatrixView plain_;                     // of f32
  AlignedBuffer<std::uint16_t> values_ = {};  // of bf16: every value once per part
  Matrix<const std::uint16_t> rounded_ = {nullptr, 0, 0};
};

// What a thread multiplies in.
struct SplitBuffers {
  SplitRows rows;
  std::vector<float> product;
};

class SplitFactor {
 public:
  SplitFactor(ConstMatrixView values, ComputeType compute, SplitParts parts = SplitParts::both);

  std::size_t rows() const { return packed_.rows(); }

  // out [rows of x, rows()] = the first columns of x times the values, transposed. REQUIRES: x was
  // assigned in the same type and parts. Thread-safe.
  void multiply(const SplitRows& x, MatrixView out) const;

 private:
  ComputeType compute_;
  PackedMatrix packed_;  // in bf16 of both parts [rows, 2 columns]: high and low take turns
};

}  // namespace qwodel
