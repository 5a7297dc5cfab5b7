#include "calibrate/token_factor.h"

#include <algorithm>
#include <vector>

#include "kernels/convert.h"

namespace qwodel {
namespace {

// Products are compiled per number of rows; batches of experts have any number. Zeros add nothing.
constexpr std::size_t padded_rows(std::size_t rows) {
  constexpr std::size_t kMultiple = 256;
  return (rows + kMultiple - 1) / kMultiple * kMultiple;
}

// Distance of rows: a power of two would put a tile of columns into a few sets of the cache.
constexpr std::size_t padded_width(std::size_t width) {
  constexpr std::size_t kMultiple = 32;
  return (width + kMultiple - 1) / kMultiple * kMultiple + kMultiple;
}

constexpr std::size_t kRowsPerTask = 64;

}  // namespace

// fill(row, to) returns where the row is; `to` has room for it.
template <class Fill>
void TokenFactor::assign_rows(std::size_t rows, std::size_t width, const TaskThreads& threads,
                              const Fill& fill) {
  rows_ = padded_rows(rows);
  stride_ = padded_width(width);
  const bool rounds = compute_ == ComputeType::bf16;
  if (rounds) {
    rounded_.reserve(rows_ * stride_);
    std::fill(rounded_.data() + rows * stride_, rounded_.data() + rows_ * stride_,
              std::uint16_t{0});
  } else {
    values_.reserve(rows_ * stride_);
    std::fill(values_.data() + rows * stride_, values_.data() + rows_ * stride_, 0.0f);
  }
  threads.run((rows + kRowsPerTask - 1) / kRowsPerTask, [&](std::size_t task) {
    std::vector<float> row(rounds ? width : 0);
    const std::size_t end = std::min(rows, (task + 1) * kRowsPerTask);
    for (std::size_t r = task * kRowsPerTask; r < end; ++r) {
      float* const to = rounds ? row.data() : values_.data() + r * stride_;
      const float* const from = fill(r, to);
      if (rounds) float_to_bfloat16(from, width, rounded_.data() + r * stride_);
      if (!rounds && from != to) std::copy_n(from, width, to);
    }
  });
}

void TokenFactor::assign(ConstMatrixView rows, const TaskThreads& threads) {
  assign_rows(rows.rows, rows.cols, threads,
              [&](std::size_t r, float*) { return rows.row(r).data(); });
}

void TokenFactor::assign_difference(ConstMatrixView y, ConstMatrixView x,
                                    const TaskThreads& threads) {
  assign_rows(x.rows, x.cols, threads, [&](std::size_t r, float* to) {
    const float* const left = y.row(r).data();
    const float* const right = x.row(r).data();
    for (std::size_t c = 0; c < x.cols; ++c) to[c] = left[c] - right[c];
    return to;
  });
}

template <class T>
Matrix<const T> TokenFactor::columns(ColumnRange range) const {
  const T* values = nullptr;
  if constexpr (sizeof(T) == 2) {
    values = rounded_.data();
  } else {
    values = values_.data();
  }
  return {values + range.first, rows_, range.count, stride_};
}

void TokenFactor::multiply(ColumnRange left, const TokenFactor& other, ColumnRange right,
                           MatrixView out, Output output) const {
  if (compute_ == ComputeType::bf16) {
    multiply_columns(columns<std::uint16_t>(left), other.columns<std::uint16_t>(right), out,
                     output);
  } else {
    multiply_columns(columns<float>(left), other.columns<float>(right), out, output);
  }
}

}  // namespace qwodel
