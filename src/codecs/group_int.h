// Integers of 2 to 8 bits that share a scale and a zero point per group of columns: what AWQ, GPTQ
// and pack-quantized files hold. Or 8-bit floats E4M3, which float-quantized files hold.
//
//   weight[o, i] = (code[o, i] - zero[o, group(i)]) * scale[o, group(i)],  group(i) = i /
//   group_size;  of floats: float(code) * scale
//
// A file format only packs these three arrays differently (targets/).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/matrix.h"
#include "kernels/group_search.h"

namespace qwodel {

enum class CodeKind : std::uint8_t { integer, float8 };

struct GroupIntScheme {
  unsigned bits = 4;               // 2 to 8
  std::uint64_t group_size = 128;  // columns; a multiple of 4 that divides in_features; 0: all
  bool symmetric = false;          // zero = 2^(bits - 1) everywhere
  ScaleFormat scale_format = ScaleFormat::half;
  CodeKind codes = CodeKind::integer;  // float8: 8 bits, symmetric, zero = 0

  bool operator==(const GroupIntScheme&) const = default;

  std::uint64_t group_of(std::uint64_t cols) const { return group_size == 0 ? cols : group_size; }
};

// A quantized matrix [rows, cols] = [out_features, in_features].
struct GroupIntMatrix {
  GroupIntScheme scheme;  // with its group_size, not 0
  std::uint64_t rows = 0;
  std::uint64_t cols = 0;
  std::vector<std::uint8_t> codes;  // [rows, cols]
  std::vector<float> scales;        // [rows, groups], exact in scheme.scale_format
  std::vector<std::uint8_t> zeros;  // [rows, groups]
  // [cols]: the group of each column, where it is not col / group_size (GPTQ's desc_act).
  std::vector<std::uint32_t> group_index;

  GroupIntMatrix() = default;
  // All zeros. REQUIRES: group_size divides cols.
  GroupIntMatrix(const GroupIntScheme& scheme, std::uint64_t rows, std::uint64_t cols);

  std::uint64_t groups() const { return cols / scheme.group_size; }
  std::uint64_t group_of(std::uint64_t col) const {
    return group_index.empty() ? col / scheme.group_size : group_index[col];
  }

  // What the file's reader will compute: (code - zero) * scale in single precision.
  // REQUIRES: out.size() == cols.
  void decode(std::uint64_t row, std::span<float> out) const;
};

// Chooses the scales and zero points of rows [row, row + values.rows); importance is empty or
// values.cols weights of squared errors. REQUIRES: values is contiguous.
void fit_rows(ConstMatrixView values, std::span<const float> importance, const GroupSearch& search,
              std::uint64_t row, GroupIntMatrix& out);

// The nearest code for every value of the rows under the parameters that are there. REQUIRES: no
// group_index.
void round_rows(ConstMatrixView values, std::uint64_t row, GroupIntMatrix& out);

// What rows decode to, with the nearest codes under such parameters [rows, groups], less the
// values: errors [rows, cols]. REQUIRES: values is contiguous.
void rounding_errors(ConstMatrixView values, const GroupIntScheme& scheme,
                     std::span<const float> scales, std::span<const std::uint8_t> zeros,
                     std::span<float> errors);

// The search that belongs to a scheme.
GroupSearch search_of(const GroupIntScheme& scheme, bool search);

}  // namespace qwodel
