#include "codecs/linear_int.h"

#include <algorithm>
#include <cmath>

#include "core/half.h"
#include "kernels/linear_codes.h"

namespace qwodel {
namespace {

int code_value(std::uint8_t code, bool is_signed) {
  return is_signed ? static_cast<std::int8_t>(code) : code;
}

}  // namespace

int LinearScheme::lowest() const {
  if (!is_signed) return 0;
  return -(1 << (bits - 1)) + (symmetric ? 1 : 0);
}

int LinearScheme::highest() const {
  if (is_signed) return (1 << (bits - 1)) - 1;
  return (1 << bits) - (symmetric ? 2 : 1);
}

LinearMatrix::LinearMatrix(const LinearScheme& matrix_scheme, std::uint64_t row_count,
                           std::uint64_t col_count)
    : scheme(matrix_scheme), rows(row_count), cols(col_count) {
  if (scheme.block_rows == 0) scheme.block_rows = rows;
  if (scheme.block_cols == 0) scheme.block_cols = cols;
  codes.resize(rows * cols);
  scales.resize(rows / scheme.block_rows * block_col_count());
  if (scheme.has_offsets()) offsets.resize(scales.size());
}

void LinearMatrix::decode(std::uint64_t row, std::span<float> out) const {
  for (std::uint64_t i = 0; i < cols; ++i) {
    const std::uint64_t block = row / scheme.block_rows * block_col_count() + i / scheme.block_cols;
    int code = code_value(codes[row * cols + i], scheme.is_signed);
    if (!offsets.empty()) code -= code_value(offsets[block], scheme.is_signed);
    out[i] = half_to_float(scales[block]) * static_cast<float>(code);
  }
}

// Halves: each operation is rounded. A range of 0 gives a scale and an offset of 0.
void set_block(ValueRange range, std::size_t block, LinearMatrix& matrix) {
  const auto lowest = static_cast<float>(matrix.scheme.lowest());
  const auto highest = static_cast<float>(matrix.scheme.highest());
  if (matrix.scheme.symmetric) {
    range.high = std::max(std::abs(range.low), std::abs(range.high));
    range.low = -range.high;
  } else {
    range.low = std::min(range.low, 0.0f);
    range.high = std::max(range.high, 0.0f);
  }
  const float width = round_to_half(range.high - range.low);
  matrix.scales[block] = float_to_half(width / (highest - lowest));
  if (matrix.scheme.symmetric) {
    if (!matrix.scheme.is_signed) {
      matrix.offsets[block] = static_cast<std::uint8_t>(matrix.scheme.highest() / 2);
    }
    return;
  }
  const float above = round_to_half(lowest * range.high);
  const float below = round_to_half(highest * range.low);
  const float zero = std::nearbyint(round_to_half(round_to_half(above - below) / width));
  const float offset = std::isnan(zero) ? 0.0f : std::clamp(zero, lowest, highest);
  matrix.offsets[block] = static_cast<std::uint8_t>(static_cast<int>(offset));
}

void round_linear(ConstMatrixView values, std::uint64_t row, LinearMatrix& out) {
  const auto blocks = static_cast<std::size_t>(out.block_col_count());
  const auto cols = static_cast<std::size_t>(out.cols);
  std::vector<float> scales(blocks), zeros(blocks, 0.0f);
  for (std::size_t r = 0; r < values.rows; ++r) {
    const auto first = static_cast<std::size_t>((row + r) / out.scheme.block_rows) * blocks;
    for (std::size_t block = 0; block < blocks; ++block) {
      scales[block] = half_to_float(out.scales[first + block]);
      if (out.offsets.empty()) continue;
      zeros[block] =
          static_cast<float>(code_value(out.offsets[first + block], out.scheme.is_signed));
    }
    round_linear_codes({.values = values.row(r).data(),
                        .count = cols,
                        .run = static_cast<std::size_t>(out.scheme.block_cols),
                        .scales = scales.data(),
                        .zeros = zeros.data(),
                        .lowest = static_cast<float>(out.scheme.lowest()),
                        .highest = static_cast<float>(out.scheme.highest()),
                        .codes = out.codes.data() + (row + r) * cols});
  }
}

LinearMatrix fit_linear(ConstMatrixView values, const LinearScheme& scheme) {
  LinearMatrix out(scheme, values.rows, values.cols);
  const auto blocks = static_cast<std::size_t>(out.block_col_count());
  std::vector<float> low(blocks), high(blocks);
  std::vector<ValueRange> ranges(out.scales.size());
  for (std::size_t r = 0; r < values.rows; ++r) {
    find_ranges(values.row(r).data(), values.cols, static_cast<std::size_t>(out.scheme.block_cols),
                low.data(), high.data());
    const bool begins = r % out.scheme.block_rows == 0;
    ValueRange* range = ranges.data() + r / out.scheme.block_rows * blocks;
    for (std::size_t i = 0; i < blocks; ++i) {
      range[i].low = begins ? low[i] : std::min(range[i].low, low[i]);
      range[i].high = begins ? high[i] : std::max(range[i].high, high[i]);
    }
  }
  for (std::size_t block = 0; block < ranges.size(); ++block) set_block(ranges[block], block, out);
  round_linear(values, 0, out);
  return out;
}

LinearMatrix to_linear(const GroupIntMatrix& matrix) {
  LinearMatrix out({.bits = matrix.scheme.bits, .block_cols = matrix.scheme.group_size},
                   matrix.rows, matrix.cols);
  const int zero = 1 << (matrix.scheme.bits - 1);
  for (std::size_t i = 0; i < out.codes.size(); ++i) {
    out.codes[i] = static_cast<std::uint8_t>(matrix.codes[i] - zero);
  }
  for (std::size_t i = 0; i < out.scales.size(); ++i) {
    out.scales[i] = float_to_half(matrix.scales[i]);
  }
  return out;
}

}  // namespace qwodel
