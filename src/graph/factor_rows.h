// Rows that products are made of.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>

#include "core/matrix.h"
#include "kernels/convert.h"

namespace qwodel {

// As they are, or already rounded to bf16 (its 16 bits), as products of that type take them.
using FactorRows = std::variant<ConstMatrixView, Matrix<const std::uint16_t>>;

inline std::size_t row_count(const FactorRows& rows) {
  return std::visit([](const auto& matrix) { return matrix.rows; }, rows);
}

inline FactorRows row_range(const FactorRows& rows, std::size_t first, std::size_t count) {
  return std::visit(
      [&](const auto& matrix) -> FactorRows { return matrix.row_range(first, count); }, rows);
}

// Copies a row into one of the other type, or of its own.
inline void copy_row(std::span<const float> from, std::uint16_t* to) {
  float_to_bfloat16(from.data(), from.size(), to);
}

inline void copy_row(std::span<const std::uint16_t> from, float* to) {
  bfloat16_to_float(from.data(), from.size(), to);
}

template <class T>
void copy_row(std::span<const T> from, T* to) {
  std::ranges::copy(from, to);
}

}  // namespace qwodel
