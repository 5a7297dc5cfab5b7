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

}  // namespace

void SplitRows::assign(ConstMatrixView rows, ComputeType compute) {
  plain_ = rows;
  if (compute != ComputeType::bf16) return;
  const std::size_t width = 2 * rows.cols;
  doubled_.reserve(rows.rows * width);
  std::vector<std::uint16_t> single(rows.cols);
  for (std::size_t r = 0; r < rows.rows; ++r) {
    float_to_bfloat16(rows.row(r).data(), rows.cols, single.data());
    std::uint16_t* const to = doubled_.data() + r * width;
    for (std::size_t i = 0; i < rows.cols; ++i) to[2 * i] = to[2 * i + 1] = single[i];
  }
  twice_ = {doubled_.data(), rows.rows, width};
}

SplitFactor::SplitFactor(ConstMatrixView values, ComputeType compute)
    : compute_(compute),
      packed_(values.rows, compute == ComputeType::bf16 ? 2 * values.cols : values.cols,
              compute == ComputeType::bf16) {
  if (compute != ComputeType::bf16) {
    packed_.pack(0, values);
    return;
  }
  std::vector<float> parts(values.rows * 2 * values.cols);
  for (std::size_t r = 0; r < values.rows; ++r) {
    split(values.row(r), parts.data() + r * 2 * values.cols);
  }
  packed_.pack(0, ConstMatrixView(parts.data(), values.rows, 2 * values.cols));
}

void SplitFactor::multiply(const SplitRows& x, MatrixView out) const {
  if (compute_ == ComputeType::bf16) {
    multiply_transposed(x.twice_.col_range(0, packed_.cols()), packed_, 0, out);
  } else {
    multiply_transposed(x.plain_.col_range(0, packed_.cols()), packed_, 0, out);
  }
}

}  // namespace qwodel
