// Palettes: every weight is an index into a table of halves, and a group of rows shares a table.
//
//   weight[o, i] = tables[o / group_rows, codes[o, i]] * column_scales[i]
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/matrix.h"

namespace qwodel {

struct PaletteScheme {
  unsigned bits = 4;             // 1 to 8
  std::uint64_t group_rows = 0;  // rows that share a table; 0: all

  std::size_t entries() const { return std::size_t{1} << bits; }
  std::uint64_t group_of(std::uint64_t rows) const { return group_rows == 0 ? rows : group_rows; }
};

// A matrix [rows, cols] = [out_features, in_features], or some whole groups of its rows.
struct PaletteMatrix {
  PaletteScheme scheme;  // with its group_rows, not 0
  std::uint64_t rows = 0;
  std::uint64_t cols = 0;
  std::vector<std::uint8_t> codes;    // [rows, cols]
  std::vector<std::uint16_t> tables;  // halves [rows / group_rows, 2^bits]; used entries rise, the
                                      // rest are 0
  std::vector<std::uint16_t> column_scales;  // halves [cols]; empty: 1

  PaletteMatrix() = default;
  // All zeros. REQUIRES: group_rows divides rows.
  PaletteMatrix(const PaletteScheme& scheme, std::uint64_t rows, std::uint64_t cols);

  std::uint64_t groups() const { return rows / scheme.group_rows; }
  std::span<std::uint16_t> table(std::uint64_t group);
  std::span<const std::uint16_t> table(std::uint64_t group) const;

  void decode(std::uint64_t row, std::span<float> out) const;
};

// Entries that a table uses: those up to the last that is not 0, or follows a smaller one.
std::size_t used_entries(std::span<const std::uint16_t> table);

}  // namespace qwodel
