#include "calibrate/token_factor.h"

#include <algorithm>
#include <span>
#include <type_traits>
#include <vector>

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

// fill(row, to) writes a row of either type.
template <class Fill>
void TokenFactor::assign_rows(std::size_t rows, std::size_t width, const TaskThreads& threads,
                              const Fill& fill) {
  rows_ = padded_rows(rows);
  stride_ = padded_width(width);
  const auto assign_to = [&](auto& values) {
    values.reserve(rows_ * stride_);
    auto* const data = values.data();
    std::fill(data + rows * stride_, data + rows_ * stride_,
              std::remove_reference_t<decltype(*data)>{});
    threads.run((rows + kRowsPerTask - 1) / kRowsPerTask, [&](std::size_t task) {
      const std::size_t end = std::min(rows, (task + 1) * kRowsPerTask);
      for (std::size_t r = task * kRowsPerTask; r < end; ++r) fill(r, data + r * stride_);
    });
  };
  if (compute_ == ComputeType::bf16) {
    assign_to(rounded_);
  } else {
    assign_to(values_);
  }
}

void TokenFactor::assign(const FactorRows& rows, const TaskThreads& threads) {
  std::visit(
      [&](const auto& x) {
        assign_rows(x.rows, x.cols, threads,
                    [&](std::size_t r, auto* to) { copy_row(x.row(r), to); });
      },
      rows);
}

void TokenFactor::assign_difference(const FactorRows& y, const FactorRows& x,
                                    const TaskThreads& threads) {
  std::visit(
      [&](const auto& right) {
        const auto& left = std::get<std::decay_t<decltype(right)>>(y);
        assign_rows(right.rows, right.cols, threads, [&](std::size_t r, auto* to) {
          thread_local std::vector<float> difference, subtracted;
          difference.resize(right.cols);
          subtracted.resize(right.cols);
          copy_row(left.row(r), difference.data());
          copy_row(right.row(r), subtracted.data());
          for (std::size_t c = 0; c < right.cols; ++c) difference[c] -= subtracted[c];
          copy_row(std::span<const float>(difference), to);
        });
      },
      x);
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
