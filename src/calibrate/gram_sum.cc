#include "calibrate/gram_sum.h"

#include <algorithm>

#include "graph/aligned_buffer.h"

namespace qwodel {

GramSum::GramSum(std::size_t width, ComputeType compute) : GramSum(width, 0, width, compute) {}

GramSum::GramSum(std::size_t width, std::size_t first_row, std::size_t end_row, ComputeType compute)
    : first_row_(first_row), compute_(compute) {
  std::size_t at = 0;
  for (std::size_t row = first_row; row < end_row; row += kTile) {
    for (std::size_t col = 0; col <= row; col += kTile) {
      const Tile tile{row, col, std::min(kTile, end_row - row), std::min(kTile, width - col), at};
      tiles_.push_back(tile);
      at += tile.height * tile.width;
    }
  }
  sums_.resize(at);
}

std::uint64_t GramSum::bytes(std::size_t width, std::size_t first_row, std::size_t end_row) {
  std::uint64_t values = 0;
  for (std::size_t row = first_row; row < end_row; row += kTile) {
    values += std::uint64_t{std::min(kTile, end_row - row)} * std::min(width, row + kTile);
  }
  return values * sizeof(double);
}

void GramSum::add(ConstMatrixView rows, const TaskThreads& threads) {
  // Of the caller's thread: fresh memory would cost as much as the copy.
  thread_local TokenFactor single(ComputeType::f32), half(ComputeType::bf16);
  TokenFactor& factor = compute_ == ComputeType::bf16 ? half : single;
  for (std::size_t first = 0; first < rows.rows; first += kRows) {
    factor.assign(rows.row_range(first, std::min(kRows, rows.rows - first)), threads);
    add(factor, threads);
  }
}

void GramSum::add(const TokenFactor& rows, const TaskThreads& threads) {
  threads.run(tiles_.size(), [&](std::size_t i) {
    const Tile& tile = tiles_[i];
    thread_local AlignedBuffer<float> product;
    product.reserve(kTile * kTile);
    rows.multiply({tile.row, tile.height}, rows, {tile.col, tile.width},
                  MatrixView(product.data(), tile.height, tile.width));
    double* const sums = sums_.data() + tile.at;
    for (std::size_t k = 0; k < tile.height * tile.width; ++k) {
      sums[k] += static_cast<double>(product.data()[k]);
    }
  });
}

void GramSum::store(std::span<float> packed) const {
  const std::size_t skipped = first_row_ * (first_row_ + 1) / 2;
  for (const Tile& tile : tiles_) {
    for (std::size_t i = 0; i < tile.height; ++i) {
      const std::size_t row = tile.row + i;
      const std::size_t count = std::min(tile.width, row + 1 - tile.col);
      float* const out = packed.data() + (row * (row + 1) / 2 - skipped) + tile.col;
      const double* const in = sums_.data() + tile.at + i * tile.width;
      for (std::size_t j = 0; j < count; ++j) out[j] = static_cast<float>(in[j]);
    }
  }
}

}  // namespace qwodel
