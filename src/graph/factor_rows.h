// Rows that products are made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <variant>

#include "core/matrix.h"

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

}  // namespace qwodel
