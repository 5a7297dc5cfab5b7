#include "codecs/palette.h"

#include <array>

#include "core/half.h"

namespace qwodel {

PaletteMatrix::PaletteMatrix(const PaletteScheme& matrix_scheme, std::uint64_t row_count,
                             std::uint64_t col_count)
    : scheme(matrix_scheme), rows(row_count), cols(col_count) {
  scheme.group_rows = scheme.group_of(rows);
  codes.resize(rows * cols);
  tables.resize(groups() * scheme.entries());
}

std::span<std::uint16_t> PaletteMatrix::table(std::uint64_t group) {
  return {tables.data() + group * scheme.entries(), scheme.entries()};
}

std::span<const std::uint16_t> PaletteMatrix::table(std::uint64_t group) const {
  return {tables.data() + group * scheme.entries(), scheme.entries()};
}

void PaletteMatrix::decode(std::uint64_t row, std::span<float> out) const {
  std::array<float, 256> values{};
  const auto halves = table(row / scheme.group_rows);
  for (std::size_t i = 0; i < halves.size(); ++i) values[i] = half_to_float(halves[i]);
  const std::uint8_t* code = codes.data() + row * cols;
  for (std::uint64_t i = 0; i < cols; ++i) out[i] = values[code[i]];
  // The product is a half, as the tables of a package with scales hold it.
  for (std::uint64_t i = 0; i < column_scales.size(); ++i) {
    out[i] = half_to_float(float_to_half(out[i] * half_to_float(column_scales[i])));
  }
}

std::size_t used_entries(std::span<const std::uint16_t> table) {
  std::size_t used = 1;
  while (used < table.size() && half_to_float(table[used]) > half_to_float(table[used - 1])) ++used;
  return used;
}

}  // namespace qwodel
