#include "methods/second_moments.h"

#include <algorithm>

namespace qwodel {

SecondMoments second_moments(const InputSums& sums, std::size_t part, std::size_t width) {
  SecondMoments moments;
  moments.rows = sums.counts[part];
  moments.gram.assign(width * width, 0.0f);
  moments.mean_abs.assign(width, 0.0f);
  moments.mean_squares.assign(width, 0.0f);
  if (moments.rows == 0) return moments;
  const double per_row = 1.0 / static_cast<double>(moments.rows);
  const float* triangle_row = sums.gram.data() + part * triangle(width);
  for (std::size_t i = 0; i < width; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      const auto value = static_cast<float>(static_cast<double>(*triangle_row++) * per_row);
      moments.gram[i * width + j] = moments.gram[j * width + i] = value;
    }
    moments.mean_squares[i] = moments.gram[i * width + i];
    moments.mean_abs[i] = static_cast<float>(sums.sum_abs[part * width + i] * per_row);
  }
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
    moments.mean_squares[i] /= scales[i] * scales[i];
  }
}

}  // namespace qwodel
