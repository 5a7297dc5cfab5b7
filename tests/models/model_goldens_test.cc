// Every case under tests/golden/models: names, order, shapes, types, values and ARCH.* metadata are
// what llama.cpp's converter makes of the same checkpoint (tools/golden/make_model_goldens.py).
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "io/json.h"
#include "models/describe.h"
#include "models/model_spec.h"
#include "tests/models/golden_metadata.h"

namespace qwodel {
namespace {

const std::filesystem::path kGoldens =
    std::filesystem::path(QWODEL_SOURCE_DIR) / "tests" / "golden" / "models";

struct Checkpoint {
  std::vector<SourceTensor> tensors;
  std::map<std::string, std::uint64_t> places;
};

Checkpoint checkpoint_of(const Json& golden) {
  Checkpoint checkpoint;
  for (const Json& entry : golden["checkpoint"]) {
    checkpoint.places[entry[0]] = checkpoint.tensors.size();
    checkpoint.tensors.push_back({entry[0], entry[1].get<std::vector<std::uint64_t>>()});
  }
  return checkpoint;
}

// Element `index` of the checkpoint's tensor at `place`.
float source_value(std::uint64_t place, std::uint64_t index) {
  return static_cast<float>((index + 7 * place) % 251);
}

void append_view(const TensorView& view, std::uint64_t place, std::size_t axis,
                 std::uint64_t offset, float added, std::vector<float>& values) {
  if (axis == view.shape.size()) {
    values.push_back(source_value(place, offset) + added);
    return;
  }
  for (std::uint64_t i = 0; i < view.shape[axis]; ++i) {
    append_view(view, place, axis + 1, offset + i * view.strides[axis], added, values);
  }
}

std::vector<float> values_of(const ModelSpec& spec, const ModelTensor& tensor,
                             const Checkpoint& checkpoint) {
  if (tensor.parts.empty()) return tensor.generated;
  std::vector<float> values;
  const float added = tensor.op == Elementwise::plus_one ? 1.0f : 0.0f;
  for (const TensorView& view : tensor.parts) {
    const std::uint64_t place = checkpoint.places.at(spec.sources.at(view.source));
    append_view(view, place, 0, view.offset, added, values);
  }
  return values;
}

Json tensors_json(const ModelSpec& spec, const Checkpoint& checkpoint) {
  Json list = Json::array();
  for (const ModelTensor& tensor : spec.tensors) {
    const std::vector<float> values = values_of(spec, tensor, checkpoint);
    const std::uint64_t hash = XXH3_64bits(values.data(), values.size() * sizeof(float));
    list.push_back({tensor.name, tensor.shape, tensor.keep_f32, fmt::format("{:016x}", hash)});
  }
  return list;
}

void expect_same_entries(const Json& found, const Json& expected) {
  for (std::size_t i = 0; i < std::max(found.size(), expected.size()); ++i) {
    ASSERT_EQ(i < found.size() ? found[i] : Json(), i < expected.size() ? expected[i] : Json())
        << "entry " << i;
  }
}

class ModelGolden : public testing::TestWithParam<std::string> {};

TEST_P(ModelGolden, MatchesTheConverter) {
  const std::filesystem::path directory = kGoldens / GetParam();
  const Json config = read_json(directory / "config.json");
  const Json golden = read_json(directory / "golden.json");
  const Checkpoint checkpoint = checkpoint_of(golden);
  const ModelOptions options;
  const ModelChoice choice = choose_model(directory, config, checkpoint.tensors, options);
  const ModelContext model{*choice.row, choice.config,      options,
                           directory,   checkpoint.tensors, choice.config.values.layers()};
  const ModelSpec spec = describe_without_vocabulary(model, config);
  expect_same_entries(tensors_json(spec, checkpoint), golden["tensors"]);
  expect_same_entries(metadata_json(spec.metadata), golden["metadata"]);
}

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kGoldens)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

INSTANTIATE_TEST_SUITE_P(Models, ModelGolden, testing::ValuesIn(golden_names()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace qwodel
