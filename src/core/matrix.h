// Views of row-major matrices.
#pragma once

#include <cstddef>
#include <span>

namespace qwodel {

// Does not own its values. `stride` is the distance between rows, in elements.
template <class T>
struct Matrix {
  T* data = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t stride = 0;

  Matrix() = default;
  Matrix(T* values, std::size_t row_count, std::size_t col_count)
      : Matrix(values, row_count, col_count, col_count) {}
  Matrix(T* values, std::size_t row_count, std::size_t col_count, std::size_t row_stride)
      : data(values), rows(row_count), cols(col_count), stride(row_stride) {}

  std::span<T> row(std::size_t i) const { return {data + i * stride, cols}; }
  Matrix row_range(std::size_t first, std::size_t count) const {
    return {data + first * stride, count, cols, stride};
  }
  Matrix col_range(std::size_t first, std::size_t count) const {
    return {data + first, rows, count, stride};
  }
  operator Matrix<const T>() const { return {data, rows, cols, stride}; }
};

using MatrixView = Matrix<float>;
using ConstMatrixView = Matrix<const float>;

}  // namespace qwodel
