#include "methods/palette.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "core/half.h"

namespace qwodel {
namespace {

constexpr std::uint32_t kSign = 0x8000u;
constexpr std::uint32_t kInfinity = 0x7C00u;
constexpr std::uint32_t kStride = 8;  // sums that are looked at together

// Sums of weights must be exact, or they would depend on the order of the values: so weights are
// integers, and a table's sum of them stays below 2^53.
std::vector<std::uint64_t> integer_weights(std::span<const float> importance,
                                           std::uint64_t values) {
  const float top = importance.empty() ? 0.0f : *std::ranges::max_element(importance);
  if (!(top > 0)) return {};
  const double unit = std::ldexp(1.0, 52 - static_cast<int>(std::bit_width(values)));
  std::vector<std::uint64_t> weights;
  for (const float value : importance) {
    const double share = static_cast<double>(value) / static_cast<double>(top);
    weights.push_back(std::max<std::uint64_t>(1, static_cast<std::uint64_t>(share * unit)));
  }
  return weights;
}

// Rounded once. By way of float, a value beside the middle of two halves may become that middle.
std::uint16_t double_to_half(double value) {
  auto nearest = static_cast<float>(value);
  const auto exact = static_cast<double>(nearest);
  if (exact < value) nearest = std::nextafter(nearest, INFINITY);
  if (exact > value) nearest = std::nextafter(nearest, -INFINITY);
  const bool middle =
      (std::bit_cast<std::uint32_t>(static_cast<float>(value)) & 0x1FFFu) == 0x1000u;
  return float_to_half(middle ? nearest : static_cast<float>(value));
}

}  // namespace

PaletteFitter::PaletteFitter(std::span<const float> importance, std::uint64_t values)
    : weights_(integer_weights(importance, values)), sums_(65536), codes_(65536) {}

void PaletteFitter::add(HalfMatrix values) {
  for (std::size_t row = 0; row < values.rows; ++row) {
    const auto halves = values.row(row);
    if (weights_.empty()) {
      for (const std::uint16_t half : halves) ++sums_[half];
    } else {
      for (std::size_t i = 0; i < halves.size(); ++i) sums_[halves[i]] += weights_[i];
    }
  }
}

// Negative halves fall as their bits rise; minus zero is zero.
void PaletteFitter::take_distinct() {
  values_.clear();
  totals_.clear();
  sums_[0] += std::exchange(sums_[kSign], 0);
  const auto take = [&](std::uint32_t half) {
    if (sums_[half] == 0) return;
    values_.push_back(half_to_float(static_cast<std::uint16_t>(half)));
    totals_.push_back(static_cast<double>(std::exchange(sums_[half], 0)));
  };
  const auto empty = [&](std::uint32_t first) {
    std::uint64_t any = 0;
    for (std::uint32_t i = 0; i < kStride; ++i) any |= sums_[first + i];
    return any == 0;
  };
  for (std::uint32_t end = kSign + kInfinity; end > kSign; end -= kStride) {
    if (empty(end - kStride)) continue;
    for (std::uint32_t i = 1; i <= kStride; ++i) take(end - i);
  }
  for (std::uint32_t first = 0; first < kInfinity; first += kStride) {
    if (empty(first)) continue;
    for (std::uint32_t i = 0; i < kStride; ++i) take(first + i);
  }
}

void PaletteFitter::fit(std::span<std::uint16_t> table) {
  take_distinct();
  const LineClusters clusters = kmeans_.solve(values_, totals_, table.size());
  std::ranges::fill(table, std::uint16_t{0});
  std::vector<double> entries;  // distinct after rounding
  for (const double center : clusters.centers) {
    const std::uint16_t half = double_to_half(center);
    const auto entry = static_cast<double>(half_to_float(half));
    if (!entries.empty() && entry <= entries.back()) continue;
    table[entries.size()] = half;
    entries.push_back(entry);
  }
  std::size_t code = 0;
  for (const float value : values_) {
    const auto exact = static_cast<double>(value);
    while (code + 1 < entries.size() && exact * 2 > entries[code] + entries[code + 1]) ++code;
    codes_[float_to_half(value)] = static_cast<std::uint8_t>(code);
  }
  codes_[kSign] = codes_[0];
}

void PaletteFitter::snap(HalfMatrix values, std::uint8_t* codes) const {
  for (std::size_t row = 0; row < values.rows; ++row) {
    for (const std::uint16_t half : values.row(row)) *codes++ = codes_[half];
  }
}

PaletteMatrix fit_palettes(HalfMatrix values, std::span<const float> importance,
                           const PaletteScheme& scheme) {
  PaletteMatrix result(scheme, values.rows, values.cols);
  const auto rows = static_cast<std::size_t>(result.scheme.group_rows);
  PaletteFitter fitter(importance, rows * values.cols);
  for (std::size_t group = 0; group < result.groups(); ++group) {
    const HalfMatrix part = values.row_range(group * rows, rows);
    fitter.add(part);
    fitter.fit(result.table(group));
    fitter.snap(part, result.codes.data() + group * rows * values.cols);
  }
  return result;
}

PaletteMatrix fit_scaled_palettes(HalfMatrix values, std::span<const float> importance,
                                  const PaletteScheme& scheme) {
  std::vector<float> scales(values.cols, 0.0f);
  for (std::size_t row = 0; row < values.rows; ++row) {
    for (std::size_t i = 0; i < values.cols; ++i) {
      scales[i] = std::max(scales[i], std::abs(half_to_float(values.row(row)[i])));
    }
  }
  std::ranges::replace(scales, 0.0f, 1.0f);
  std::vector<std::uint16_t> divided(values.rows * values.cols);
  for (std::size_t row = 0; row < values.rows; ++row) {
    for (std::size_t i = 0; i < values.cols; ++i) {
      divided[row * values.cols + i] = float_to_half(half_to_float(values.row(row)[i]) / scales[i]);
    }
  }
  // An error of a divided value counts as often as the scale makes it large.
  std::vector<float> weights(importance.begin(), importance.end());
  weights.resize(values.cols, 1.0f);
  for (std::size_t i = 0; i < values.cols; ++i) weights[i] *= scales[i] * scales[i];
  PaletteMatrix result = fit_palettes({divided.data(), values.rows, values.cols}, weights, scheme);
  for (const float scale : scales) result.column_scales.push_back(float_to_half(scale));
  return result;
}

}  // namespace qwodel
