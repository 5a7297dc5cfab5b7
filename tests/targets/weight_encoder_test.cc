// What a Core ML weight is stored as decodes to what the encoder says, read as the format says.
#include "targets/coreml/weight_encoder.h"

#include <gtest/gtest.h>

#include <cmath>

#include "codecs/bit_stream.h"
#include "core/half.h"
#include "tests/codecs/coreml_inputs.h"

namespace qwodel {
namespace {

constexpr WeightForm kLinear = WeightForm::linear;
constexpr WeightForm kPalette = WeightForm::palette;

const std::vector<WeightScheme> kSchemes = {
    {.form = kLinear, .bits = 8},
    {.form = kLinear, .bits = 8, .symmetric = false},
    {.form = kLinear, .bits = 8, .symmetric = false, .per_tensor = true},
    {.form = kLinear, .bits = 4, .block = 32},
    {.form = kPalette, .bits = 6},
    {.form = kPalette, .bits = 3, .group_rows = 8},
    {.form = kPalette, .bits = 4, .group_rows = 16},
};

int signed_code(std::uint8_t code, unsigned bits) {
  return code < 1u << (bits - 1) ? code : static_cast<int>(code) - (1 << bits);
}

std::vector<float> read_back(const WeightScheme& scheme, const CompressedWeight& stored,
                             std::size_t rows, std::size_t cols) {
  const auto codes = unpack_bits(stored.codes, scheme.bits, rows * cols);
  const auto offsets =
      unpack_bits(stored.offsets, scheme.bits, scheme.symmetric ? 0 : stored.scales.size());
  const std::size_t block = scheme.block == 0 ? cols : scheme.block;
  const std::size_t group = scheme.group_rows == 0 ? rows : scheme.group_rows;
  std::vector<float> values;
  for (std::size_t i = 0; i < rows * cols; ++i) {
    if (scheme.form == kPalette) {
      const std::size_t table = i / cols / group;
      values.push_back(half_to_float(stored.tables[(table << scheme.bits) + codes[i]]));
      continue;
    }
    const std::size_t at = scheme.per_tensor ? 0 : i / cols * (cols / block) + i % cols / block;
    int code = signed_code(codes[i], scheme.bits);
    if (!offsets.empty()) code -= signed_code(offsets[at], scheme.bits);
    values.push_back(half_to_float(stored.scales[at]) * static_cast<float>(code));
  }
  return values;
}

void append(const EncodedRows& rows, EncodedRows& all) {
  const auto add = [](const auto& from, auto& to) {
    to.insert(to.end(), from.begin(), from.end());
  };
  add(rows.stored.codes, all.stored.codes);
  add(rows.stored.scales, all.stored.scales);
  add(rows.stored.offsets, all.stored.offsets);
  add(rows.stored.tables, all.stored.tables);
  add(rows.decoded, all.decoded);
}

class WeightEncoderSchemes : public testing::TestWithParam<WeightScheme> {};

TEST_P(WeightEncoderSchemes, StoresWhatItDecodes) {
  const HalfWeights weights = coreml_inputs::weights("smollm2");
  WeightEncoder encoder(GetParam(), {}, weights.rows, weights.cols);
  if (encoder.needs_scan()) {
    encoder.scan(weights.view());
    encoder.finish_scan();
  }
  const EncodedRows whole = encoder.encode(weights.view(), true);
  EXPECT_EQ(read_back(GetParam(), whole.stored, weights.rows, weights.cols), whole.decoded);
  double error = 0, signal = 0;
  for (std::size_t i = 0; i < whole.decoded.size(); ++i) {
    const auto value = static_cast<double>(half_to_float(weights.halves[i]));
    error += std::pow(static_cast<double>(whole.decoded[i]) - value, 2);
    signal += value * value;
  }
  // Of a normal distribution 2^-2b times a factor of its shape: 2.7 for the best codes.
  const double unit = std::ldexp(1.0, -2 * static_cast<int>(GetParam().bits));
  EXPECT_LT(error / signal, 9 * unit);
  EXPECT_GT(error / signal, 1 * unit);
}

TEST_P(WeightEncoderSchemes, RowsMayComeInParts) {
  const HalfWeights weights = coreml_inputs::weights("smollm2");
  WeightEncoder encoder(GetParam(), {}, weights.rows, weights.cols);
  ASSERT_EQ(16 % encoder.row_step(), 0u);
  if (encoder.needs_scan()) {
    encoder.scan(weights.view().row_range(16, 16));
    encoder.scan(weights.view().row_range(0, 16));
    encoder.finish_scan();
  }
  EncodedRows parts;
  append(encoder.encode(weights.view().row_range(0, 16), true), parts);
  append(encoder.encode(weights.view().row_range(16, 16), false), parts);
  EXPECT_EQ(read_back(GetParam(), parts.stored, weights.rows, weights.cols), parts.decoded);
  WeightEncoder again(GetParam(), {}, weights.rows, weights.cols);
  if (again.needs_scan()) {
    again.scan(weights.view());
    again.finish_scan();
  }
  EXPECT_EQ(again.encode(weights.view(), true).decoded, parts.decoded);
}

INSTANTIATE_TEST_SUITE_P(Schemes, WeightEncoderSchemes, testing::ValuesIn(kSchemes));

TEST(WeightEncoder, SearchLowersTheError) {
  const HalfWeights weights = coreml_inputs::weights("smollm2");
  const WeightScheme scheme{.form = kLinear, .bits = 4, .block = 32};
  std::vector<double> errors;
  for (const bool search : {false, true}) {
    const WeightEncoder encoder(scheme, {.search = search, .importance = {}}, weights.rows,
                                weights.cols);
    const EncodedRows rows = encoder.encode(weights.view(), true);
    EXPECT_EQ(read_back(scheme, rows.stored, weights.rows, weights.cols), rows.decoded);
    double error = 0;
    for (std::size_t i = 0; i < rows.decoded.size(); ++i) {
      const float difference = rows.decoded[i] - half_to_float(weights.halves[i]);
      error += static_cast<double>(difference * difference);
    }
    errors.push_back(error);
  }
  EXPECT_LT(errors[1], 0.9 * errors[0]);
  EXPECT_GT(errors[1], 0.5 * errors[0]);
}

}  // namespace
}  // namespace qwodel
