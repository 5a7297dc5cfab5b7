#include "methods/group_moments.h"

#include "kernels/row_ops.h"

namespace qwodel {

GroupMoments::GroupMoments(ConstMatrixView gram, std::size_t group_size,
                           std::span<const float> scales, ComputeType compute)
    : group_size_(group_size), compute_(compute) {
  std::vector<float> block(group_size * group_size);
  for (std::size_t first = 0; first < gram.cols; first += group_size) {
    for (std::size_t i = 0; i < group_size; ++i) {
      const auto from = gram.row(first + i).subspan(first, group_size);
      float* const to = block.data() + i * group_size;
      for (std::size_t j = 0; j < group_size; ++j) {
        to[j] = scales.empty() ? from[j] : from[j] / (scales[first + i] * scales[first + j]);
      }
      diagonal_.push_back(to[i]);
    }
    blocks_.emplace_back(ConstMatrixView(block.data(), group_size, group_size), compute,
                         SplitParts::high);
  }
}

void GroupMoments::measure(std::size_t group, ConstMatrixView differences, std::span<double> errors,
                           SplitBuffers& buffers) const {
  const std::size_t rows = padded_rows(differences.rows);
  buffers.rows.assign({differences.data, rows, group_size_, differences.stride}, compute_,
                      SplitParts::high);
  buffers.product.resize(rows * group_size_);
  const MatrixView product(buffers.product.data(), rows, group_size_);
  blocks_[group].multiply(buffers.rows, product);
  for (std::size_t r = 0; r < differences.rows; ++r) {
    errors[r] =
        static_cast<double>(dot(differences.row(r).data(), product.row(r).data(), group_size_));
  }
}

std::size_t GroupMoments::padded_rows(std::size_t rows) {
  constexpr std::size_t kMultiple = 64;
  return (rows + kMultiple - 1) / kMultiple * kMultiple;
}

}  // namespace qwodel
