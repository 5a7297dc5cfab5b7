#include "calibrate/gram_sum.h"

#include <algorithm>

#include "calibrate/transposed_rows.h"
#include "graph/aligned_buffer.h"
#include "graph/matmul.h"

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
  for (std::size_t first = 0; first < rows.rows; first += kRows) {
    add_run(rows.row_range(first, std::min(kRows, rows.rows - first)), threads);
  }
}

void GramSum::add_run(ConstMatrixView rows, const TaskThreads& threads) {
  const std::size_t padded = padded_rows(rows.rows);
  const std::size_t stride = transposed_stride(rows.rows);
  const auto add_tiles = [&](const auto* transposed) {
    using T = std::remove_cvref_t<decltype(*transposed)>;
    threads.run(tiles_.size(), [&](std::size_t i) {
      const Tile& tile = tiles_[i];
      thread_local AlignedBuffer<float> product;
      product.reserve(kTile * kTile);
      multiply_transposed(
          Matrix<const T>(transposed + tile.row * stride, tile.height, padded, stride),
          Matrix<const T>(transposed + tile.col * stride, tile.width, padded, stride),
          MatrixView(product.data(), tile.height, tile.width));
      double* const sums = sums_.data() + tile.at;
      for (std::size_t k = 0; k < tile.height * tile.width; ++k) {
        sums[k] += static_cast<double>(product.data()[k]);
      }
    });
  };
  if (compute_ == ComputeType::bf16) {
    thread_local AlignedBuffer<std::uint16_t> buffer;  // of the caller's thread
    add_tiles(transposed_rows(rows, threads, buffer));
  } else {
    thread_local AlignedBuffer<float> buffer;
    add_tiles(transposed_rows(rows, threads, buffer));
  }
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
