// GPTQ on a piece of a real layer against gptqmodel (tools/golden/make_gptq_goldens.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "core/half.h"
#include "io/json.h"
#include "methods/gptq.h"

namespace qwodel {
namespace {

template <class T>
std::vector<T> decode_base64(const std::string& text) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text.substr(0, text.find('='))) {
    bits = bits << 6 | static_cast<std::uint32_t>(kAlphabet.find(c));
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>(bits >> count & 0xff));
  }
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

std::vector<float> decode_halves(const std::string& text) {
  std::vector<float> values;
  for (const std::uint16_t half : decode_base64<std::uint16_t>(text)) {
    values.push_back(half_to_float(half));
  }
  return values;
}

struct Layer {
  Json golden = read_json(std::filesystem::path(QWODEL_SOURCE_DIR) / "tests/golden/gptq.json");
  std::size_t rows = golden["rows"];
  std::size_t cols = golden["columns"];
  std::size_t tokens = golden["tokens"];
  std::vector<float> weights = decode_halves(golden["weights"]);
  std::vector<float> inputs = decode_halves(golden["inputs"]);
  std::vector<float> gram = std::vector<float>(cols * cols);

  Layer() {
    for (std::size_t i = 0; i < cols; ++i) {
      for (std::size_t j = 0; j < cols; ++j) {
        double sum = 0;
        for (std::size_t t = 0; t < tokens; ++t) {
          sum +=
              static_cast<double>(inputs[t * cols + i]) * static_cast<double>(inputs[t * cols + j]);
        }
        gram[i * cols + j] = static_cast<float>(sum);
      }
    }
  }

  ConstMatrixView weight_view() const { return {weights.data(), rows, cols}; }
  ConstMatrixView gram_view() const { return {gram.data(), cols, cols}; }

  GroupIntScheme scheme_of(const Json& test) const {
    return {
        .bits = test["bits"], .group_size = golden["group_size"], .symmetric = test["symmetric"]};
  }

  // Quantizes with the scales and zero points that are in `matrix`.
  GroupIntMatrix run(GroupIntMatrix matrix) const {
    const HessianFactor factor = factorize_hessian(
        gram_view(), {.damp_percent = golden["damp"], .order = ColumnOrder::activation}, "layer");
    std::vector<float> decoded = weights;
    gptq({decoded.data(), rows, cols}, factor, matrix);
    return matrix;
  }
};

TEST(GptqGolden, SameCodesFromTheSameScales) {
  const Layer layer;
  for (const Json& test : layer.golden["cases"]) {
    GroupIntMatrix matrix(layer.scheme_of(test), layer.rows, layer.cols);
    matrix.scales = decode_base64<float>(test["scales"]);
    matrix.zeros = decode_base64<std::uint8_t>(test["zeros"]);
    ASSERT_EQ(matrix.scales.size(), layer.rows * matrix.groups());
    const GroupIntMatrix found = layer.run(matrix);
    const auto codes = decode_base64<std::uint8_t>(test["codes"]);
    ASSERT_EQ(codes.size(), found.codes.size());
    std::size_t different = 0;
    for (std::size_t i = 0; i < codes.size(); ++i) different += codes[i] != found.codes[i] ? 1 : 0;
    // None here; sums in another order may break a tie.
    EXPECT_LE(different, codes.size() / 1000) << test["bits"] << " bits";
    const double expected = test["output_error"];
    EXPECT_NEAR(output_error(layer.weight_view(), found, layer.gram_view()), expected,
                1e-3 * expected);
  }
}

TEST(GptqGolden, SameErrorWithTheLargestAndSmallestWeightsAsScales) {
  const Layer layer;
  for (const Json& test : layer.golden["cases"]) {
    GroupIntMatrix matrix(layer.scheme_of(test), layer.rows, layer.cols);
    fit_rows(layer.weight_view(), {}, search_of(matrix.scheme, false), 0, matrix);
    const double found = output_error(layer.weight_view(), layer.run(matrix), layer.gram_view());
    const double expected = test["output_error"];
    EXPECT_NEAR(found, expected, 0.01 * expected);  // ours are half precision
  }
}

}  // namespace
}  // namespace qwodel
