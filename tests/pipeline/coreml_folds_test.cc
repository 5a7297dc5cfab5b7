// Core ML packages whose channels AWQ scaled: norms take the inverse, so that what they and the
// linears after them give together is what it was.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "formats/mlpackage/package.h"
#include "formats/tensor_info.h"
#include "pipeline/source_model.h"
#include "qwodel/quantize.h"
#include "targets/coreml/mil_builder.h"
#include "targets/coreml/package_weights.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

const std::string kModel = std::string(QWODEL_SOURCE_DIR) + "/models/stories260K";

QuantizeOptions options(const fs::path& output, const std::string& format,
                        const std::string& method) {
  QuantizeOptions result;
  result.model = kModel;
  result.output = output;
  result.targets = {"coreml:" + format};
  result.method = method;
  result.calibration = {.text = "builtin", .samples = 16, .seq_len = 128};
  return result;
}

std::string bytes_of(const fs::path& package) {
  std::ifstream in(package / package_weights_path(), std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The source's weight and the package's, by the name in the graph.
class Weights {
 public:
  explicit Weights(const fs::path& path)
      : package_(path), stored_(package_weights(package_, path.string())), source_(kModel, {}) {}

  std::vector<float> stored(const std::string& name) const {
    const auto found = std::ranges::find(stored_, mil_identifier(name), &PackageWeight::name);
    std::vector<float> values(original(name).size());
    found->read(0, values);
    return values;
  }

  std::vector<float> original(const std::string& name) const {
    const auto found = std::ranges::find(source_.spec.tensors, name, &ModelTensor::name);
    const auto at = static_cast<std::size_t>(found - source_.spec.tensors.begin());
    std::vector<float> values(static_cast<std::size_t>(element_count(found->shape)));
    source_.readers[at].read(0, values);
    return values;
  }

 private:
  MlPackage package_;
  std::vector<PackageWeight> stored_;
  SourceModel source_;
};

// Squared error of norm[i] * weight[o, i], over the squared products.
double composed_error(const std::vector<float>& norm, const std::vector<float>& weight,
                      const std::vector<float>& from_norm, const std::vector<float>& from_weight) {
  double error = 0, signal = 0;
  for (std::size_t i = 0; i < weight.size(); ++i) {
    const std::size_t column = i % norm.size();
    const double got = static_cast<double>(norm[column]) * static_cast<double>(weight[i]);
    const double expected =
        static_cast<double>(from_norm[column]) * static_cast<double>(from_weight[i]);
    error += (got - expected) * (got - expected);
    signal += expected * expected;
  }
  return error / signal;
}

double largest_change(const std::vector<float>& values, const std::vector<float>& from) {
  double largest = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double change = static_cast<double>(values[i]) - static_cast<double>(from[i]);
    largest = std::max(largest, std::abs(change / static_cast<double>(from[i])));
  }
  return largest;
}

class CoremlFolds : public testing::TestWithParam<const char*> {};

TEST_P(CoremlFolds, NormsTakeWhatColumnsGet) {
  const TempDirectory directory;
  const QuantizeOptions request = options(directory / "a.mlpackage", "int8_symmetric", GetParam());
  const QuantizeReport report = quantize(request);
  std::size_t scaled = 0;
  for (const TensorReport& row : report.artifacts[0].tensors) {
    scaled += row.method.starts_with("awq+");
  }
  EXPECT_GT(scaled, 5u);
  const Weights weights(directory / "a.mlpackage");
  std::size_t changed = 0;
  for (const std::string layer : {"blk.0.", "blk.2.", "blk.4."}) {
    const std::string norm = layer + "ffn_norm.weight", gate = layer + "ffn_gate.weight";
    const std::vector<float> stored = weights.stored(norm), original = weights.original(norm);
    changed += largest_change(stored, original) > 0.05;  // halves alone make it 0.0005
    const double error =
        composed_error(stored, weights.stored(gate), original, weights.original(gate));
    EXPECT_LT(error, 3e-4) << gate;
    EXPECT_GT(error, 1e-7) << gate;
  }
  EXPECT_GT(changed, 0u);
}

TEST_P(CoremlFolds, ThreadsChangeNoByte) {
  const TempDirectory directory;
  std::set<std::string> bytes;
  for (const int threads : {1, 2}) {
    QuantizeOptions request =
        options(directory / (std::to_string(threads) + ".mlpackage"), "int4_block32", GetParam());
    request.threads = threads;
    quantize(request);
    bytes.insert(bytes_of(request.output));
  }
  EXPECT_EQ(bytes.size(), 1u);
}

INSTANTIATE_TEST_SUITE_P(Methods, CoremlFolds, testing::Values("awq", "awq+gptq"),
                         [](const auto& test) {
                           return std::string(test.param) == "awq" ? "Awq" : "AwqThenGptq";
                         });

TEST(CoremlFolds, PalettesAreScaledToo) {
  const TempDirectory directory;
  const QuantizeReport report = quantize(options(directory / "a.mlpackage", "int4", "awq+gptq"));
  std::set<std::string> methods;
  for (const TensorReport& row : report.artifacts[0].tensors) methods.insert(row.method);
  EXPECT_THAT(methods, testing::Contains("awq+gptq"));
  EXPECT_THAT(methods, testing::Contains("convert"));
}

}  // namespace
}  // namespace qwodel
