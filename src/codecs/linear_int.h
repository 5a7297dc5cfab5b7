// Integers of 4 or 8 bits with a scale, and perhaps an offset, for each block of a matrix: Core
// ML's constexpr_blockwise_shift_scale and constexpr_affine_dequantize.
//
//   weight[o, i] = scales[block(o, i)] * (codes[o, i] - offsets[block(o, i)])
//
// fit_linear() gives the numbers that coremltools' linear_quantize_weights gives for a weight of
// halves: the range of the block as it is, all arithmetic in half precision.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "codecs/group_int.h"
#include "core/matrix.h"

namespace qwodel {

struct LinearScheme {
  unsigned bits = 8;  // 4 or 8
  bool is_signed = true;
  // The range is as wide below 0 as above. Signed codes then need no offset, and do not use the
  // lowest code; unsigned ones have the offset 7 or 127 and do not use the highest.
  bool symmetric = true;
  std::uint64_t block_rows = 1;  // rows of a block; 0: all
  std::uint64_t block_cols = 0;  // columns of a block; 0: all

  bool has_offsets() const { return !symmetric || !is_signed; }
  int lowest() const;
  int highest() const;
};

// A matrix [rows, cols] = [out_features, in_features], or some whole blocks of its rows.
struct LinearMatrix {
  LinearScheme scheme;  // with its block sizes, not 0
  std::uint64_t rows = 0;
  std::uint64_t cols = 0;
  std::vector<std::uint8_t> codes;    // [rows, cols], negative ones in two's complement
  std::vector<std::uint16_t> scales;  // halves [block_row_count, block_col_count]
  std::vector<std::uint8_t> offsets;  // like codes, by block; empty: 0

  LinearMatrix() = default;
  // All zeros. REQUIRES: block_rows divides rows, block_cols divides cols.
  LinearMatrix(const LinearScheme& scheme, std::uint64_t rows, std::uint64_t cols);

  std::uint64_t block_col_count() const { return cols / scheme.block_cols; }

  void decode(std::uint64_t row, std::span<float> out) const;
};

// Smallest and largest value of a block.
struct ValueRange {
  float low = 0;
  float high = 0;
};

// The scale and offset of a block with this range.
void set_block(ValueRange range, std::size_t block, LinearMatrix& matrix);

// The nearest codes under the scales and offsets that are there. REQUIRES: values are halves, of
// rows [row, row + values.rows), contiguous.
void round_linear(ConstMatrixView values, std::uint64_t row, LinearMatrix& out);

// Scales and offsets of the blocks' ranges, and codes. REQUIRES: values are finite halves,
// contiguous.
LinearMatrix fit_linear(ConstMatrixView values, const LinearScheme& scheme);

// The same numbers as a symmetric GroupIntMatrix of 4 or 8 bits.
LinearMatrix to_linear(const GroupIntMatrix& matrix);

}  // namespace qwodel
