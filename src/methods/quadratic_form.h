// x G x^T of many rows x for one symmetric matrix G, in half the multiplications of (x G) x^T.
#pragma once

#include <cstddef>
#include <vector>

#include "core/matrix.h"
#include "graph/matmul.h"

namespace qwodel {

class QuadraticForm {
 public:
  // Of the lower triangle of `matrix` [n, n], which is copied.
  explicit QuadraticForm(ConstMatrixView matrix);

  // The sum over rows of x [rows, n]. May run on several threads at once, each with its own
  // `product`.
  double sum(ConstMatrixView x, std::vector<float>& product) const;

 private:
  // Columns [first, first + lower.rows()) of G: on the diagonal as they are, left of it doubled,
  // which stands for what is above the diagonal.
  struct Block {
    std::size_t first = 0;
    PackedMatrix lower;  // [columns, first + columns]
  };

  std::vector<Block> blocks_;
};

}  // namespace qwodel
