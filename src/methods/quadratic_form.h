// x G x^T of many rows x for one symmetric matrix G, in half the multiplications of (x G) x^T.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/matrix.h"
#include "methods/split_factor.h"

namespace qwodel {

class QuadraticForm {
 public:
  // Of the lower triangle of `matrix` [n, n], which is copied. `compute` is f32 or bf16.
  QuadraticForm(ConstMatrixView matrix, ComputeType compute, SplitParts parts = SplitParts::both);

  // Of every row of x [rows, n]. May run on several threads at once.
  void rows(ConstMatrixView x, SplitBuffers& buffers, std::span<double> out) const;

  // The sum over rows of x.
  double sum(ConstMatrixView x, SplitBuffers& buffers) const;

 private:
  // Columns [first, first + lower.rows()) of G: on the diagonal as they are, left of it doubled,
  // which stands for what is above the diagonal.
  struct Block {
    std::size_t first = 0;
    SplitFactor lower;  // [columns, first + columns]
  };

  ComputeType compute_;
  SplitParts parts_;
  std::vector<Block> blocks_;
};

}  // namespace qwodel
