#include "codecs/group_int.h"

namespace qwodel {
namespace {

BlockRows block_rows(ConstMatrixView values, const float* importance, std::uint64_t group_size) {
  return {values.data, values.rows, values.cols, importance, static_cast<std::size_t>(group_size)};
}

}  // namespace

GroupIntMatrix::GroupIntMatrix(const GroupIntScheme& matrix_scheme, std::uint64_t row_count,
                               std::uint64_t col_count)
    : scheme(matrix_scheme), rows(row_count), cols(col_count) {
  scheme.group_size = scheme.group_of(cols);
  codes.resize(rows * cols);
  scales.resize(rows * groups());
  zeros.resize(rows * groups());
}

void GroupIntMatrix::decode(std::uint64_t row, std::span<float> out) const {
  const std::uint8_t* code = codes.data() + row * cols;
  for (std::uint64_t group = 0; group < groups(); ++group) {
    const float scale = scales[row * groups() + group];
    const int zero = zeros[row * groups() + group];
    for (std::uint64_t i = group * scheme.group_size; i < (group + 1) * scheme.group_size; ++i) {
      out[i] = static_cast<float>(code[i] - zero) * scale;
    }
  }
}

void fit_rows(ConstMatrixView values, std::span<const float> importance, const GroupSearch& search,
              std::uint64_t row, GroupIntMatrix& out) {
  const BlockRows rows =
      block_rows(values, importance.empty() ? nullptr : importance.data(), out.scheme.group_size);
  fit_groups(rows, 0, rows.count(), search, out.scales.data() + row * out.groups(),
             out.zeros.data() + row * out.groups());
}

void round_rows(ConstMatrixView values, std::uint64_t row, GroupIntMatrix& out) {
  const BlockRows rows = block_rows(values, nullptr, out.scheme.group_size);
  round_groups(rows, 0, rows.count(), out.scheme.bits, out.scales.data() + row * out.groups(),
               out.zeros.data() + row * out.groups(), out.codes.data() + row * out.cols);
}

GroupSearch search_of(const GroupIntScheme& scheme, bool search) {
  return {.bits = scheme.bits,
          .symmetric = scheme.symmetric,
          .search = search,
          .format = scheme.scale_format};
}

}  // namespace qwodel
