// Checkpoints of the families that are damaged: every one is a ValidationError that names the
// place.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "io/json.h"
#include "models/describe.h"
#include "models/model_spec.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

const std::filesystem::path kGoldens =
    std::filesystem::path(QWODEL_SOURCE_DIR) / "tests" / "golden" / "models";

struct Checkpoint {
  Json config;
  std::vector<SourceTensor> tensors;

  SourceTensor& tensor(std::string_view name) {
    const auto found = std::find_if(tensors.begin(), tensors.end(),
                                    [&](const SourceTensor& t) { return t.name == name; });
    if (found == tensors.end()) throw std::runtime_error(fmt::format("no tensor {}", name));
    return *found;
  }
};

// The config and the shapes of a golden case.
Checkpoint golden_checkpoint(const std::string& name) {
  Checkpoint checkpoint{read_json(kGoldens / name / "config.json"), {}};
  const Json golden = read_json(kGoldens / name / "golden.json");
  for (const Json& entry : golden["checkpoint"]) {
    checkpoint.tensors.push_back({entry[0], entry[1].get<std::vector<std::uint64_t>>()});
  }
  return checkpoint;
}

// The message of the ValidationError that describing gives, or "" when there is none.
std::string failure(const Checkpoint& checkpoint) {
  try {
    const ModelOptions options;
    const std::filesystem::path nowhere = "/nonexistent";
    const ModelChoice choice =
        choose_model(nowhere, checkpoint.config, checkpoint.tensors, options);
    const ModelContext model{*choice.row, choice.config,      options,
                             nowhere,     checkpoint.tensors, choice.config.values.layers()};
    describe_without_vocabulary(model, checkpoint.config);
  } catch (const ValidationError& error) {
    return error.what();
  }
  return {};
}

class Family : public testing::TestWithParam<std::string> {};

TEST_P(Family, NeedsEveryMatrixOfEveryLayer) {
  const Checkpoint whole = golden_checkpoint(GetParam());
  ASSERT_EQ(failure(whole), "");
  int removed = 0;
  for (std::size_t i = 0; i < whole.tensors.size(); ++i) {
    const std::string& name = whole.tensors[i].name;
    const std::vector<std::uint64_t>& shape = whole.tensors[i].shape;
    const bool in_layer =
        name.find(".0.") != std::string::npos || name.find(".1.") != std::string::npos;
    const bool extra = name.starts_with("model.layers.2.");  // multi-token prediction, dropped
    if (!in_layer || extra || shape.size() < 2 || !name.ends_with(".weight")) continue;
    Checkpoint damaged = whole;
    damaged.tensors.erase(damaged.tensors.begin() + static_cast<std::ptrdiff_t>(i));
    const std::string message = failure(damaged);
    // A stack is missed by its first piece, a fused tensor by itself.
    EXPECT_NE(message.find(name), std::string::npos) << name << ": " << message;
    ++removed;
  }
  EXPECT_GE(removed, 8);
}

TEST_P(Family, NamesATensorWithoutRule) {
  Checkpoint damaged = golden_checkpoint(GetParam());
  SourceTensor& tensor = damaged.tensors.front();
  tensor.name = "somebody." + tensor.name;
  EXPECT_NE(failure(damaged).find(tensor.name), std::string::npos) << failure(damaged);
}

// No number of config.json, however wrong, is more than a ValidationError or a description.
TEST_P(Family, SurvivesEveryNumberOfTheConfig) {
  const Checkpoint whole = golden_checkpoint(GetParam());
  const Json hostile[] = {0,
                          1,
                          -1,
                          1.5,
                          4294967295u,
                          4294967296u,
                          std::numeric_limits<std::uint64_t>::max(),
                          1e300,
                          nullptr,
                          "text",
                          Json::array(),
                          Json::object()};
  for (const auto& [key, value] : whole.config.items()) {
    for (const Json& replacement : hostile) {
      Checkpoint damaged = whole;
      damaged.config[key] = replacement;
      try {
        failure(damaged);
      } catch (const Error&) {  // an unknown class is another child of Error
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Family,
                         testing::Values("gptneox", "falcon_mqa", "falcon_new_decoder", "bloom",
                                         "mpt", "internlm2", "minicpm", "deepseek",
                                         "deepseek_v2_lite", "deepseek_v3", "bert", "roberta",
                                         "distilbert"),
                         [](const auto& test) { return test.param; });

TEST(GroupedQkv, RejectsRowsThatAreNoGroups) {
  for (const char* name : {"falcon_new_decoder", "falcon_mqa"}) {
    Checkpoint damaged = golden_checkpoint(name);
    auto& tensor = damaged.tensor("transformer.h.1.self_attention.query_key_value.weight");
    tensor.shape[0] += 1;
    EXPECT_NE(failure(damaged).find(tensor.name), std::string::npos) << failure(damaged);
  }
  Checkpoint damaged = golden_checkpoint("internlm2");
  damaged.config["num_key_value_heads"] = 3;  // 4 query heads
  EXPECT_NE(failure(damaged).find("wqkv"), std::string::npos) << failure(damaged);
}

TEST(Falcon, RejectsBiases) {
  Checkpoint damaged = golden_checkpoint("falcon_mqa");
  const std::string name = "transformer.h.0.self_attention.query_key_value.bias";
  damaged.tensors.push_back({name, {96}});
  EXPECT_NE(failure(damaged).find(name), std::string::npos) << failure(damaged);
}

TEST(DeepSeek, RejectsAProjectionOfOtherSizes) {
  Checkpoint damaged = golden_checkpoint("deepseek_v3");
  auto& tensor = damaged.tensor("model.layers.0.self_attn.kv_b_proj.weight");
  tensor.shape[0] -= 4;
  EXPECT_NE(failure(damaged).find(tensor.name), std::string::npos) << failure(damaged);
}

TEST(Roberta, RejectsPositionsThatArePadding) {
  Checkpoint damaged = golden_checkpoint("roberta");
  damaged.config["pad_token_id"] = 4000000000u;
  EXPECT_NE(failure(damaged).find("position_embeddings"), std::string::npos) << failure(damaged);
}

TEST(MiniCpm, RejectsFactorsOfAnotherLength) {
  Checkpoint damaged = golden_checkpoint("minicpm_longrope");
  damaged.config["rope_scaling"]["short_factor"].push_back(1.0);
  EXPECT_NE(failure(damaged).find("short_factor"), std::string::npos) << failure(damaged);
}

}  // namespace
}  // namespace qwodel
