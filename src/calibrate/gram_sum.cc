#include "calibrate/gram_sum.h"

#include <algorithm>

#include "graph/aligned_buffer.h"
#include "graph/matmul.h"
#include "kernels/column_sums.h"

namespace qwodel {
namespace {

constexpr std::size_t kTile = 256;
constexpr std::size_t kTransposeColumns = 64;

// Products are compiled per number of rows; batches of experts have any number. Zeros add nothing.
constexpr std::size_t kRowsMultiple = 256;

// Distance of the rows of X^T: a power of two would put a whole column of a transposed square into
// one set of the cache.
constexpr std::size_t kStridePadding = 32;

template <class T>
T* transposed_rows(ConstMatrixView rows, std::size_t stride, const TaskThreads& threads) {
  thread_local AlignedBuffer<T> buffer;  // of the caller's thread
  buffer.reserve(rows.cols * stride);
  T* const out = buffer.data();
  threads.run((rows.cols + kTransposeColumns - 1) / kTransposeColumns, [&](std::size_t i) {
    const std::size_t first = i * kTransposeColumns;
    const std::size_t count = std::min(kTransposeColumns, rows.cols - first);
    T* const to = out + first * stride;
    for (std::size_t c = 0; c < count; ++c) {
      std::fill(to + c * stride + rows.rows, to + (c + 1) * stride, T{0});
    }
    if constexpr (sizeof(T) == 2) {
      transpose_to_bfloat16(rows.col_range(first, count), stride, to);
    } else {
      transpose(rows.col_range(first, count), stride, to);
    }
  });
  return out;
}

}  // namespace

GramSum::GramSum(std::size_t width, ComputeType compute) : compute_(compute) {
  std::size_t at = 0;
  for (std::size_t row = 0; row < width; row += kTile) {
    for (std::size_t col = 0; col <= row; col += kTile) {
      const Tile tile{row, col, std::min(kTile, width - row), std::min(kTile, width - col), at};
      tiles_.push_back(tile);
      at += tile.height * tile.width;
    }
  }
  sums_.resize(at);
}

void GramSum::add(ConstMatrixView rows, const TaskThreads& threads) {
  for (std::size_t first = 0; first < rows.rows; first += kRows) {
    add_run(rows.row_range(first, std::min(kRows, rows.rows - first)), threads);
  }
}

void GramSum::add_run(ConstMatrixView rows, const TaskThreads& threads) {
  const std::size_t padded = (rows.rows + kRowsMultiple - 1) / kRowsMultiple * kRowsMultiple;
  const std::size_t stride = padded + kStridePadding;
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
    add_tiles(transposed_rows<std::uint16_t>(rows, stride, threads));
  } else {
    add_tiles(transposed_rows<float>(rows, stride, threads));
  }
}

void GramSum::store(std::span<float> packed) const {
  for (const Tile& tile : tiles_) {
    for (std::size_t i = 0; i < tile.height; ++i) {
      const std::size_t row = tile.row + i;
      const std::size_t count = std::min(tile.width, row + 1 - tile.col);
      float* const out = packed.data() + row * (row + 1) / 2 + tile.col;
      const double* const in = sums_.data() + tile.at + i * tile.width;
      for (std::size_t j = 0; j < count; ++j) out[j] = static_cast<float>(in[j]);
    }
  }
}

}  // namespace qwodel
