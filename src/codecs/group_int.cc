#include "codecs/group_int.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "codecs/float8.h"
#include "core/half.h"

namespace qwodel {
namespace {

constexpr auto kFloat8Values = [] {
  std::array<float, 256> values{};
  for (std::size_t i = 0; i < 256; ++i) {
    values[i] = float8_e4m3_to_float(static_cast<std::uint8_t>(i));
  }
  return values;
}();

// The group's largest magnitude becomes the largest float: their grid is logarithmic, so another
// scale gains next to nothing. What is too small to have a stored scale decodes to 0.
void fit_float8(ConstMatrixView values, std::uint64_t row, GroupIntMatrix& out) {
  const std::uint64_t size = out.scheme.group_size;
  for (std::size_t r = 0; r < values.rows; ++r) {
    for (std::uint64_t group = 0; group < out.groups(); ++group) {
      float largest = 0;
      for (const float value : values.row(r).subspan(group * size, size)) {
        largest = std::max(largest, std::fabs(value));
      }
      const float scale = stored_scale(largest / kFloat8Max, out.scheme.scale_format);
      out.scales[(row + r) * out.groups() + group] = scale > 0 ? scale : 1.0f;
    }
  }
}

void round_float8(ConstMatrixView values, std::uint64_t row, GroupIntMatrix& out) {
  for (std::size_t r = 0; r < values.rows; ++r) {
    const std::uint64_t line = row + r;
    for (std::uint64_t i = 0; i < out.cols; ++i) {
      const float scale = out.scales[line * out.groups() + i / out.scheme.group_size];
      out.codes[line * out.cols + i] = float_to_float8_e4m3(values.row(r)[i] / scale);
    }
  }
}

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
  if (!group_index.empty()) {
    for (std::uint64_t i = 0; i < cols; ++i) {
      const std::uint64_t at = row * groups() + group_index[i];
      out[i] = static_cast<float>(code[i] - zeros[at]) * scales[at];
    }
    return;
  }
  for (std::uint64_t group = 0; group < groups(); ++group) {
    const float scale = scales[row * groups() + group];
    const int zero = zeros[row * groups() + group];
    const std::uint64_t end = (group + 1) * scheme.group_size;
    for (std::uint64_t i = group * scheme.group_size; i < end; ++i) {
      out[i] = scheme.codes == CodeKind::float8 ? kFloat8Values[code[i]] * scale
                                                : static_cast<float>(code[i] - zero) * scale;
    }
  }
}

void fit_rows(ConstMatrixView values, std::span<const float> importance, const GroupSearch& search,
              std::uint64_t row, GroupIntMatrix& out) {
  if (out.scheme.codes == CodeKind::float8) {
    fit_float8(values, row, out);
    return;
  }
  const BlockRows rows =
      block_rows(values, importance.empty() ? nullptr : importance.data(), out.scheme.group_size);
  fit_groups(rows, 0, rows.count(), search, out.scales.data() + row * out.groups(),
             out.zeros.data() + row * out.groups());
}

void round_rows(ConstMatrixView values, std::uint64_t row, GroupIntMatrix& out) {
  if (out.scheme.codes == CodeKind::float8) {
    round_float8(values, row, out);
    return;
  }
  const BlockRows rows = block_rows(values, nullptr, out.scheme.group_size);
  round_groups(rows, 0, rows.count(), out.scheme.bits, out.scales.data() + row * out.groups(),
               out.zeros.data() + row * out.groups(), out.codes.data() + row * out.cols);
}

void rounding_errors(ConstMatrixView values, const GroupIntScheme& scheme,
                     std::span<const float> scales, std::span<const std::uint8_t> zeros,
                     std::span<float> errors) {
  const std::uint64_t size = scheme.group_of(values.cols);
  if (scheme.codes == CodeKind::float8) {
    for (std::size_t i = 0; i < errors.size(); ++i) {
      const float scale = scales[i / size];
      errors[i] =
          kFloat8Values[float_to_float8_e4m3(values.data[i] / scale)] * scale - values.data[i];
    }
    return;
  }
  const BlockRows rows = block_rows(values, nullptr, size);
  group_errors(rows, 0, rows.count(), scheme.bits, scales.data(), zeros.data(), errors.data());
}

GroupSearch search_of(const GroupIntScheme& scheme, bool search) {
  return {.bits = scheme.bits,
          .symmetric = scheme.symmetric,
          .search = search,
          .format = scheme.scale_format};
}

}  // namespace qwodel
