#include "methods/quadratic_form.h"

#include <algorithm>
#include <numeric>
#include <span>

#include "kernels/row_ops.h"

namespace qwodel {
namespace {

// A block of the diagonal is multiplied whole: with 8 blocks, 9/16 of all multiplications remain.
// Narrower blocks are slower products.
constexpr std::size_t kBlocks = 8;
constexpr std::size_t kNarrowest = 2 * PackedMatrix::kPanel;

std::size_t block_width(std::size_t n) {
  const std::size_t even = (n + kBlocks - 1) / kBlocks;
  const std::size_t panels = (even + PackedMatrix::kPanel - 1) / PackedMatrix::kPanel;
  return std::max(kNarrowest, panels * PackedMatrix::kPanel);
}

}  // namespace

QuadraticForm::QuadraticForm(ConstMatrixView matrix, ComputeType compute, SplitParts parts)
    : compute_(compute), parts_(parts) {
  const std::size_t n = matrix.rows;
  std::vector<float> values;
  for (std::size_t first = 0; first < n; first += block_width(n)) {
    const std::size_t count = std::min(block_width(n), n - first);
    values.resize(count * (first + count));
    for (std::size_t r = 0; r < count; ++r) {
      const auto from = matrix.row(first + r);
      float* to = values.data() + r * (first + count);
      for (std::size_t c = 0; c < first; ++c) to[c] = 2 * from[c];
      for (std::size_t c = first; c < first + count; ++c) {
        to[c] = c > first + r ? matrix.row(c)[first + r] : from[c];
      }
    }
    const ConstMatrixView lower(values.data(), count, first + count);
    blocks_.push_back({.first = first, .lower = SplitFactor(lower, compute, parts)});
  }
}

void QuadraticForm::rows(ConstMatrixView x, SplitBuffers& buffers, std::span<double> out) const {
  buffers.rows.assign(x, compute_, parts_);
  std::ranges::fill(out, 0.0);
  for (const Block& block : blocks_) {
    const std::size_t columns = block.lower.rows();
    buffers.product.resize(x.rows * columns);
    const MatrixView product(buffers.product.data(), x.rows, columns);
    block.lower.multiply(buffers.rows, product);
    for (std::size_t r = 0; r < x.rows; ++r) {
      const auto left = x.row(r).subspan(block.first, columns);
      out[r] += static_cast<double>(dot(left.data(), product.row(r).data(), columns));
    }
  }
}

double QuadraticForm::sum(ConstMatrixView x, SplitBuffers& buffers) const {
  std::vector<double> sums(x.rows);
  rows(x, buffers, sums);
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace qwodel
