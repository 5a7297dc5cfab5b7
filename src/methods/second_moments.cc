#include "methods/second_moments.h"

#include <algorithm>

namespace qwodel {
namespace {

// Copies what is below the diagonal to above it, in squares that stay in the cache.
void mirror(std::vector<float>& matrix, std::size_t width) {
  constexpr std::size_t kSquare = 32;
  for (std::size_t row = 0; row < width; row += kSquare) {
    for (std::size_t col = 0; col <= row; col += kSquare) {
      for (std::size_t i = row; i < std::min(row + kSquare, width); ++i) {
        const std::size_t end = std::min(col + kSquare, i);
        for (std::size_t j = col; j < end; ++j) matrix[j * width + i] = matrix[i * width + j];
      }
    }
  }
}

}  // namespace

SecondMoments second_moments(const InputSums& sums, std::size_t part, std::size_t width) {
  SecondMoments moments;
  moments.rows = sums.counts[part];
  moments.gram.assign(width * width, 0.0f);
  moments.mean_abs.assign(width, 0.0f);
  if (moments.rows == 0) return moments;
  const double per_row = 1.0 / static_cast<double>(moments.rows);
  const float* triangle_row = sums.gram.data() + part * triangle(width);
  for (std::size_t i = 0; i < width; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      const auto value = static_cast<float>(static_cast<double>(*triangle_row++) * per_row);
      moments.gram[i * width + j] = value;
    }
    moments.mean_abs[i] = static_cast<float>(sums.sum_abs[part * width + i] * per_row);
  }
  mirror(moments.gram, width);
  return moments;
}

void damp_channels(SecondMoments& moments) {
  const std::size_t d = moments.width();
  for (std::size_t i = 0; i < d; ++i) moments.gram[i * d + i] *= 1 + kChannelDamp;
}

void divide_channels(SecondMoments& moments, std::span<const float> scales) {
  const std::size_t d = moments.width();
  for (std::size_t i = 0; i < d; ++i) {
    for (std::size_t j = 0; j < d; ++j) moments.gram[i * d + j] /= scales[i] * scales[j];
  }
}

}  // namespace qwodel
