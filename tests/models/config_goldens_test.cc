// ARCH.* metadata and rotary tensors of published models' configurations are what llama.cpp's
// converter makes of the same config.json (tools/golden/make_config_goldens.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "models/describe.h"
#include "models/metadata.h"
#include "tests/models/golden_metadata.h"

namespace qwodel {
namespace {

const Json& goldens() {
  static const Json all = read_json(std::filesystem::path(QWODEL_SOURCE_DIR) / "tests" / "golden" /
                                    "model_configs.json");
  return all;
}

std::vector<std::string> names() {
  std::vector<std::string> list;
  for (const auto& item : goldens().items()) list.push_back(item.key());
  return list;
}

class ConfigGolden : public testing::TestWithParam<std::string> {};

TEST_P(ConfigGolden, MatchesTheConverter) {
  const Json& golden = goldens()[GetParam()];
  const std::filesystem::path nowhere = "/nonexistent";
  const ModelOptions options;
  const ModelChoice choice = choose_model(nowhere, golden["config"], {}, options);
  const ModelClass& row = *choice.row;
  const ModelContext model{row, choice.config, options, nowhere, {}, choice.config.values.layers()};
  GgufMetadata metadata;
  MetadataWriter out(row.architecture, metadata);
  metadata.set_string("general.architecture", row.architecture);
  if (row.early_metadata != nullptr) row.early_metadata(model, out);
  row.metadata(model, out);
  const Json found = metadata_json(metadata);
  const Json& expected = golden["metadata"];
  for (std::size_t i = 0; i < std::max(found.size(), expected.size()); ++i) {
    ASSERT_EQ(i < found.size() ? found[i] : Json(), i < expected.size() ? expected[i] : Json());
  }

  std::vector<ModelTensor> tensors;
  if (row.generate != nullptr) row.generate(model, tensors);
  Json generated = Json::array();
  for (const ModelTensor& tensor : tensors) {
    std::string bytes;
    for (const float value : tensor.generated) bytes += float_bytes(value);
    generated.push_back({tensor.name, bytes});
  }
  EXPECT_EQ(generated, golden["tensors"]);
}

INSTANTIATE_TEST_SUITE_P(Models, ConfigGolden, testing::ValuesIn(names()), [](const auto& test) {
  std::string name = test.param;
  for (char& c : name) {
    if (c == '-' || c == '.') c = '_';
  }
  return name;
});

}  // namespace
}  // namespace qwodel
