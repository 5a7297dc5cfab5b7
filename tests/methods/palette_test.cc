// Palettes have no more error than coremltools', and are what the definition says.
#include "methods/palette.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "core/half.h"
#include "tests/codecs/coreml_inputs.h"

namespace qwodel {
namespace {

double squared_error(const HalfWeights& weights, const PaletteMatrix& palettes,
                     std::span<const float> importance = {}) {
  std::vector<float> decoded(weights.cols);
  double error = 0;
  for (std::size_t row = 0; row < weights.rows; ++row) {
    palettes.decode(row, decoded);
    for (std::size_t i = 0; i < weights.cols; ++i) {
      const double difference = static_cast<double>(decoded[i]) -
                                static_cast<double>(half_to_float(weights.view().row(row)[i]));
      const double weight = importance.empty() ? 1.0 : static_cast<double>(importance[i]);
      error += weight * difference * difference;
    }
  }
  return error;
}

// coremltools solves slabs of 10,000 values and more exactly, so there the errors are equal but for
// codes that it does not choose anew after rounding its table; others it solves approximately.
TEST(Palette, HasNoMoreErrorThanCoremltools) {
  std::ifstream in(std::string(QWODEL_SOURCE_DIR) + "/tests/golden/coreml_compression.json");
  const nlohmann::json made = nlohmann::json::parse(in);
  ASSERT_EQ(made["palettes"].size(), 48u);
  for (const auto& row : made["palettes"]) {
    const HalfWeights weights = coreml_inputs::weights(row["input"]);
    const PaletteScheme scheme{.bits = row["bits"], .group_rows = row["group_rows"]};
    const PaletteMatrix palettes = row["scaled"] ? fit_scaled_palettes(weights.view(), {}, scheme)
                                                 : fit_palettes(weights.view(), {}, scheme);
    const double error = squared_error(weights, palettes);
    const double theirs = row["error"];
    const std::uint64_t slab = palettes.scheme.group_rows * weights.cols;
    EXPECT_LE(error, theirs) << row;
    EXPECT_GE(error, (slab >= 10000 && !row["scaled"] ? 0.98 : 0.6) * theirs) << row;
  }
}

TEST(Palette, CodesAreTheNearestEntries) {
  const HalfWeights weights = coreml_inputs::weights("odd");
  for (const unsigned bits : {1u, 4u, 8u}) {
    const PaletteMatrix palettes =
        fit_palettes(weights.view(), {}, {.bits = bits, .group_rows = 8});
    std::vector<float> decoded(weights.cols);
    for (std::size_t row = 0; row < weights.rows; ++row) {
      palettes.decode(row, decoded);
      const auto table = palettes.table(row / 8);
      const std::size_t used = used_entries(table);
      for (std::size_t i = 0; i < weights.cols; ++i) {
        const float value = half_to_float(weights.view().row(row)[i]);
        const float distance = std::abs(decoded[i] - value);
        float least = distance;
        for (std::size_t entry = 0; entry < table.size(); ++entry) {
          if (entry < used) least = std::min(least, std::abs(half_to_float(table[entry]) - value));
        }
        ASSERT_EQ(distance, least) << row << " " << i;
      }
    }
  }
}

TEST(Palette, FewValuesAreKept) {
  HalfWeights weights{2, 6, {}};
  for (const float value : {1.f, -1.f, 0.f, -0.f, 0.5f, 1.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f}) {
    weights.halves.push_back(float_to_half(value));
  }
  const PaletteMatrix palettes = fit_palettes(weights.view(), {}, {.bits = 3, .group_rows = 1});
  EXPECT_EQ(squared_error(weights, palettes), 0);
  EXPECT_EQ(used_entries(palettes.table(0)), 4u);
  EXPECT_EQ(palettes.table(0)[4], 0u);
  EXPECT_EQ(used_entries(palettes.table(1)), 1u);
}

TEST(Palette, DoesNotDependOnTheOrderOfColumns) {
  const HalfWeights weights = coreml_inputs::weights("smollm2");
  std::vector<std::size_t> order(weights.cols);
  std::iota(order.begin(), order.end(), 0u);
  std::shuffle(order.begin(), order.end(), std::mt19937(1));
  std::vector<float> importance, moved_importance;
  for (std::size_t i = 0; i < weights.cols; ++i) {
    importance.push_back(1.0f / static_cast<float>(i + 1));
  }
  HalfWeights moved = weights;
  for (std::size_t i = 0; i < weights.cols; ++i) {
    moved_importance.push_back(importance[order[i]]);
    for (std::size_t row = 0; row < weights.rows; ++row) {
      moved.halves[row * weights.cols + i] = weights.halves[row * weights.cols + order[i]];
    }
  }
  const PaletteScheme scheme{.bits = 4, .group_rows = 16};
  const PaletteMatrix one = fit_palettes(weights.view(), importance, scheme);
  const PaletteMatrix other = fit_palettes(moved.view(), moved_importance, scheme);
  EXPECT_EQ(one.tables, other.tables);
  for (std::size_t i = 0; i < weights.cols; ++i) {
    ASSERT_EQ(other.codes[i], one.codes[order[i]]);
  }
}

TEST(Palette, RowsMayComeInParts) {
  const HalfWeights weights = coreml_inputs::weights("bell");
  const PaletteMatrix whole = fit_palettes(weights.view(), {}, {.bits = 6});
  PaletteFitter fitter({}, weights.rows * weights.cols);
  std::vector<std::uint16_t> table(64);
  std::vector<std::uint8_t> codes(weights.halves.size());
  for (const std::size_t row : {40u, 0u}) {
    fitter.add(weights.view().row_range(row, row == 0 ? 40 : 24));
  }
  fitter.fit(table);
  fitter.snap(weights.view(), codes.data());
  EXPECT_EQ(table, whole.tables);
  EXPECT_EQ(codes, whole.codes);
}

TEST(Palette, ImportanceLowersTheWeightedError) {
  const HalfWeights weights = coreml_inputs::weights("smollm2");
  std::vector<float> importance(weights.cols);
  std::mt19937 generator(2);
  std::lognormal_distribution<float> size(0.0f, 1.5f);
  for (float& value : importance) value = size(generator);
  const PaletteScheme scheme{.bits = 4, .group_rows = 16};
  const PaletteMatrix plain = fit_palettes(weights.view(), {}, scheme);
  const PaletteMatrix weighted = fit_palettes(weights.view(), importance, scheme);
  const double before = squared_error(weights, plain, importance);
  const double after = squared_error(weights, weighted, importance);
  EXPECT_LT(after, 0.98 * before);
  EXPECT_GT(after, 0.5 * before);
  EXPECT_GT(squared_error(weights, weighted), squared_error(weights, plain));
}

TEST(Palette, ImportanceOfZeroIsNone) {
  const HalfWeights weights = coreml_inputs::weights("bell");
  const std::vector<float> zeros(weights.cols, 0.0f);
  const PaletteScheme scheme{.bits = 3, .group_rows = 32};
  EXPECT_EQ(fit_palettes(weights.view(), zeros, scheme).tables,
            fit_palettes(weights.view(), {}, scheme).tables);
}

}  // namespace
}  // namespace qwodel
