// Palettes of least error: the tables are optimal k-means of the halves they stand for.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "codecs/palette.h"
#include "core/matrix.h"
#include "methods/kmeans.h"

namespace qwodel {

using HalfMatrix = Matrix<const std::uint16_t>;

// Fits one table after the other. A table's rows may come in parts, so that a matrix need not be in
// memory; results do not depend on the order of the values. Not thread-safe.
class PaletteFitter {
 public:
  // `importance` weighs squared errors by column; empty, or all 0: every column the same. `values`:
  // at most so many share a table, below 2^50. REQUIRES: importance is finite and not negative.
  PaletteFitter(std::span<const float> importance, std::uint64_t values);

  // Values for the next table. REQUIRES: finite.
  void add(HalfMatrix values);

  // The table for what was added since the last one: means rounded to half, rising; entries that
  // are not needed are 0. REQUIRES: something was added.
  void fit(std::span<std::uint16_t> table);

  // The nearest entries of the last table, the lower of two. REQUIRES: every value was added to it.
  void snap(HalfMatrix values, std::uint8_t* codes) const;

  // Codes of the last table by half, for those that were added to it.
  std::vector<std::uint8_t> take_codes() { return std::move(codes_); }

 private:
  void take_distinct();

  std::vector<std::uint64_t> weights_;  // by column; empty: 1
  std::vector<std::uint64_t> sums_;     // weights by half
  std::vector<std::uint8_t> codes_;     // by half
  std::vector<float> values_;           // distinct, rising
  std::vector<double> totals_;          // of their weights
  LineKMeans kmeans_;
};

// Palettes of whole groups of rows. REQUIRES: group_rows of the scheme divides values.rows;
// finite values; importance as above.
PaletteMatrix fit_palettes(HalfMatrix values, std::span<const float> importance,
                           const PaletteScheme& scheme);

// The same for values that are first divided by the largest magnitude of their column, which
// coremltools calls enable_per_channel_scale. REQUIRES: values are all rows of the matrix.
PaletteMatrix fit_scaled_palettes(HalfMatrix values, std::span<const float> importance,
                                  const PaletteScheme& scheme);

}  // namespace qwodel
