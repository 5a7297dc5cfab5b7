#include "methods/split_factor.h"

#include <span>
#include <vector>

#include "core/half.h"
#include "kernels/convert.h"

namespace qwodel {
namespace {

// Row r as [high, low, high, low ...], each exact in bf16.
void split(std::span<const float> from, float* to) {
  for (std::size_t i = 0; i < from.size(); ++i) {
    const float high = bfloat16_to_float(float_to_bfloat16(from[i]));
    to[2 * i] = high;
    to[2 * i + 1] = bfloat16_to_float(float_to_bfloat16(from[i] - high));
  }
}

std::size_t width_of(std::size_t columns, ComputeType compute, SplitParts parts) {
  return compute == ComputeType::bf16 && parts == SplitParts::both ? 2 * columns : columns;
}

}  // namespace

void SplitRows::assign(ConstMatrixView rows, ComputeType compute, SplitParts parts) {
  plain_ = rows;
  if (compute != ComputeType::bf16) return;
  const std::size_t width = width_of(rows.cols, compute, parts);
  values_.reserve(rows.rows * width);
  std::vector<std::uint16_t> single(rows.cols);
  for (std::size_t r = 0; r < rows.rows; ++r) {
    std::uint16_t* const to = values_.data() + r * width;
    if (parts == SplitParts::high) {
      float_to_bfloat16(rows.row(r).data(), rows.cols, to);
      continue;
    }
    float_to_bfloat16(rows.row(r).data(), rows.cols, single.data());
    for (std::size_t i = 0; i < rows.cols; ++i) to[2 * i] = to[2 * i + 1] = single[i];
  }
  rounded_ = {values_.data(), rows.rows, width};
}

SplitFactor::SplitFactor(ConstMatrixView values, ComputeType compute, SplitParts parts)
    : compute_(compute),
      packed_(values.rows, width_of(values.cols, compute, parts), compute == ComputeType::bf16) {
  if (packed_.cols() == values.cols) {
    packed_.pack(0, values);
    return;
  }
  std::vector<float> halves(values.rows * packed_.cols());
  for (std::size_t r = 0; r < values.rows; ++r) {
    split(values.row(r), halves.data() + r * packed_.cols());
  }
  packed_.pack(0, ConstMatrixView(halves.data(), values.rows, packed_.cols()));
}

void SplitFactor::multiply(const SplitRows& x, MatrixView out) const {
  if (compute_ == ComputeType::bf16) {
    multiply_transposed(x.rounded_.col_range(0, packed_.cols()), packed_, 0, out);
  } else {
    multiply_transposed(x.plain_.col_range(0, packed_.cols()), packed_, 0, out);
  }
}

}  // namespace qwodel
