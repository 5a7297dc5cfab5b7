// Linear quantization gives coremltools' codes, scales and offsets, bit for bit, on every target.
#include "codecs/linear_int.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/dispatch.h"
#include "tests/codecs/coreml_inputs.h"

namespace qwodel {
namespace {

nlohmann::json golden() {
  std::ifstream in(std::string(QWODEL_SOURCE_DIR) + "/tests/golden/coreml_compression.json");
  return nlohmann::json::parse(in);
}

template <class T>
std::string digest(const std::vector<T>& values) {
  return fmt::format("{:016x}", XXH3_64bits(values.data(), values.size() * sizeof(T)));
}

LinearScheme scheme_of(const nlohmann::json& row) {
  const std::string dtype = row["dtype"];
  const std::string granularity = row["granularity"];
  return {.bits = dtype.ends_with("8") ? 8u : 4u,
          .is_signed = dtype.starts_with("int"),
          .symmetric = row["mode"] == "linear_symmetric",
          .block_rows = granularity == "per_tensor" ? 0u : 1u,
          .block_cols = row["block"]};
}

class LinearIntOnEveryTarget : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { use_kernel_target(GetParam()); }
  void TearDown() override { use_kernel_target(""); }
};

TEST_P(LinearIntOnEveryTarget, EqualsCoremltools) {
  const nlohmann::json made = golden();
  ASSERT_EQ(made["linear"].size(), 96u);
  for (const auto& row : made["linear"]) {
    const HalfWeights weights = coreml_inputs::weights(row["input"]);
    ASSERT_EQ(digest(weights.halves), made["inputs"][std::string(row["input"])]);
    const std::vector<float> values = weights.floats();
    const LinearMatrix matrix =
        fit_linear({values.data(), weights.rows, weights.cols}, scheme_of(row));
    EXPECT_EQ(digest(matrix.codes), row["codes"]) << row;
    EXPECT_EQ(digest(matrix.scales), row["scales"]) << row;
    if (row["offsets"].is_null()) {
      EXPECT_TRUE(matrix.offsets.empty()) << row;
    } else {
      EXPECT_EQ(digest(matrix.offsets), row["offsets"]) << row;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, LinearIntOnEveryTarget, testing::ValuesIn(kernel_targets()),
                         [](const auto& suite) { return suite.param; });

// Half a step, and what rounding the scale and the quotient to half adds to it.
TEST(LinearInt, DecodesToWithinAStep) {
  const HalfWeights weights = coreml_inputs::weights("bell");
  const std::vector<float> values = weights.floats();
  std::vector<float> decoded(weights.cols);
  for (const unsigned bits : {4u, 8u}) {
    for (const bool is_signed : {true, false}) {
      for (const bool symmetric : {true, false}) {
        const LinearMatrix matrix = fit_linear(
            {values.data(), weights.rows, weights.cols},
            {.bits = bits, .is_signed = is_signed, .symmetric = symmetric, .block_cols = 64});
        float worst = 0;
        for (std::size_t row = 0; row < weights.rows; ++row) {
          matrix.decode(row, decoded);
          for (std::size_t i = 0; i < weights.cols; ++i) {
            const float step = half_to_float(matrix.scales[row * 4 + i / 64]);
            worst = std::max(worst, std::abs(decoded[i] - values[row * weights.cols + i]) / step);
          }
        }
        EXPECT_LE(worst, 0.6f) << bits << is_signed << symmetric;
        EXPECT_GE(worst, 0.45f) << bits << is_signed << symmetric;
      }
    }
  }
}

TEST(LinearInt, BlocksOfSeveralRowsShareAScale) {
  const HalfWeights weights = coreml_inputs::weights("bell");
  const std::vector<float> values = weights.floats();
  const LinearMatrix matrix =
      fit_linear({values.data(), weights.rows, weights.cols}, {.block_rows = 8, .block_cols = 128});
  ASSERT_EQ(matrix.scales.size(), 16u);
  float top = 0;
  for (std::size_t row = 8; row < 16; ++row) {
    for (std::size_t i = 128; i < 256; ++i) {
      top = std::max(top, std::abs(values[row * 256 + i]));
    }
  }
  EXPECT_EQ(matrix.scales[3], float_to_half(half_to_float(float_to_half(2 * top)) / 254));
}

TEST(LinearInt, TakesOverASymmetricGroupMatrix) {
  const HalfWeights weights = coreml_inputs::weights("smollm2");
  const std::vector<float> values = weights.floats();
  const GroupIntScheme scheme{.bits = 4, .group_size = 32, .symmetric = true};
  GroupIntMatrix group(scheme, weights.rows, weights.cols);
  const ConstMatrixView view(values.data(), weights.rows, weights.cols);
  fit_rows(view, {}, search_of(scheme, true), 0, group);
  round_rows(view, 0, group);
  const LinearMatrix matrix = to_linear(group);
  EXPECT_TRUE(matrix.offsets.empty());
  std::vector<float> decoded(weights.cols), expected(weights.cols);
  for (std::size_t row = 0; row < weights.rows; ++row) {
    matrix.decode(row, decoded);
    group.decode(row, expected);
    ASSERT_EQ(decoded, expected);
  }
}

}  // namespace
}  // namespace qwodel
