#include "calibrate/cross_sum.h"

#include <algorithm>
#include <cstdint>

#include "calibrate/gram_sum.h"
#include "calibrate/transposed_rows.h"
#include "graph/aligned_buffer.h"
#include "graph/matmul.h"

namespace qwodel {
namespace {

constexpr std::size_t kTile = 256;

template <class T>
void add_run(ConstMatrixView y, ConstMatrixView x, const TaskThreads& threads,
             std::vector<double>& sums) {
  thread_local AlignedBuffer<T> y_buffer, x_buffer;  // of the caller's thread
  const T* const left = transposed_rows(y, threads, y_buffer);
  const T* const right = transposed_rows(x, threads, x_buffer);
  const std::size_t width = x.cols;
  const std::size_t tiles = (width + kTile - 1) / kTile;
  const std::size_t padded = padded_rows(x.rows);
  const std::size_t stride = transposed_stride(x.rows);
  threads.run(tiles * tiles, [&](std::size_t i) {
    const std::size_t row = i / tiles * kTile;
    const std::size_t col = i % tiles * kTile;
    const std::size_t height = std::min(kTile, width - row);
    const std::size_t count = std::min(kTile, width - col);
    thread_local AlignedBuffer<float> product;
    product.reserve(kTile * kTile);
    multiply_transposed(Matrix<const T>(left + row * stride, height, padded, stride),
                        Matrix<const T>(right + col * stride, count, padded, stride),
                        MatrixView(product.data(), height, count));
    for (std::size_t r = 0; r < height; ++r) {
      double* const to = sums.data() + (row + r) * width + col;
      for (std::size_t c = 0; c < count; ++c) {
        to[c] += static_cast<double>(product.data()[r * count + c]);
      }
    }
  });
}

}  // namespace

CrossSum::CrossSum(std::size_t width, ComputeType compute)
    : compute_(compute), sums_(width * width) {}

void CrossSum::add(ConstMatrixView y, ConstMatrixView x, const TaskThreads& threads) {
  for (std::size_t first = 0; first < x.rows; first += GramSum::kRows) {
    const std::size_t count = std::min(GramSum::kRows, x.rows - first);
    if (compute_ == ComputeType::bf16) {
      add_run<std::uint16_t>(y.row_range(first, count), x.row_range(first, count), threads, sums_);
    } else {
      add_run<float>(y.row_range(first, count), x.row_range(first, count), threads, sums_);
    }
  }
}

std::vector<float> CrossSum::scaled(double factor) const {
  std::vector<float> result(sums_.size());
  std::ranges::transform(sums_, result.begin(),
                         [&](double sum) { return static_cast<float>(sum * factor); });
  return result;
}

}  // namespace qwodel
