#include "models/config.h"

#include <gtest/gtest.h>

#include "io/json.h"
#include "models/registry.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

ModelConfig config_of(std::string_view text) { return ModelConfig(Json::parse(text)); }

TEST(ModelConfig, TakesTheFirstKeyPresentAndNullAsAbsent) {
  const ModelConfig config = config_of(R"({"n_head": 4, "heads": 8, "empty": null})");
  EXPECT_EQ(config.count({"none", "n_head", "heads"}), 4u);
  EXPECT_FALSE(config.has("empty"));
  EXPECT_EQ(config.find({"empty", "heads"}), nullptr);
  EXPECT_FALSE(config.find_count({"none"}).has_value());
}

TEST(ModelConfig, RejectsValuesOfAnotherKind) {
  const ModelConfig config = config_of(
      R"({"text": "4", "negative": -1, "real": 4.0, "large": 4294967296, "zero": 0, "list": [4],
          "huge": 1e39, "flag": 1})");
  for (const char* key : {"text", "negative", "real", "large", "list", "huge", "missing"}) {
    EXPECT_THROW(config.count({key}), ValidationError) << key;
  }
  EXPECT_EQ(config.count({"zero"}), 0u);
  EXPECT_THROW(config.size({"zero"}), ValidationError);
  EXPECT_THROW(config.number({"text"}), ValidationError);
  EXPECT_THROW(config.number({"huge"}), ValidationError);
  EXPECT_THROW(config.flag("flag", true), ValidationError);
  EXPECT_THROW(config.find_text({"zero"}), ValidationError);
}

TEST(ModelConfig, ErrorsNameTheKey) {
  try {
    config_of(R"({"num_attention_heads": "many"})").heads();
    FAIL();
  } catch (const ValidationError& error) {
    EXPECT_NE(std::string(error.what()).find("num_attention_heads"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("many"), std::string::npos);
  }
}

TEST(LoadConfig, MovesNestedTextToTheTop) {
  const Json config = Json::parse(
      R"({"architectures": ["A"], "hidden_size": 1,
          "text_config": {"architectures": ["B"], "hidden_size": 2}})");
  EXPECT_EQ(load_config(config, nullptr).values.hidden_size(), 2u);
  EXPECT_EQ(model_class_of(config), "B");
}

TEST(LoadConfig, OldAndNewRotarySettingsAgree) {
  const ConfigDefaults* defaults = find_config_defaults("llama");
  ASSERT_NE(defaults, nullptr);
  const LoadedConfig old_style = load_config(
      Json::parse(R"({"rope_theta": 5000.0, "rope_scaling": {"type": "linear", "factor": 2.0}})"),
      defaults);
  const LoadedConfig new_style = load_config(
      Json::parse(
          R"({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0}})"),
      defaults);
  for (const LoadedConfig* loaded : {&old_style, &new_style}) {
    EXPECT_EQ(loaded->rope.find_text({"rope_type"}), "linear");
    EXPECT_EQ(loaded->rope.number({"rope_theta"}), 5000.0);
    EXPECT_EQ(loaded->rope.number({"factor"}), 2.0);
  }
}

TEST(LoadConfig, WithoutAKnownModelTypeNothingIsAdded) {
  const LoadedConfig loaded = load_config(Json::parse(R"({"hidden_size": 8})"), nullptr);
  EXPECT_FALSE(loaded.values.has("head_dim"));
  EXPECT_FALSE(loaded.rope.has("rope_theta"));
}

TEST(LoadConfig, RejectsWhatIsNoModel) {
  EXPECT_THROW(load_config(Json(), nullptr), ValidationError);
  EXPECT_THROW(load_config(Json::array(), nullptr), ValidationError);
  EXPECT_THROW(model_class_of(Json::object()), ValidationError);
  EXPECT_THROW(model_class_of(Json::parse(R"({"architectures": []})")), ValidationError);
  EXPECT_THROW(model_class_of(Json::parse(R"({"architectures": [1]})")), ValidationError);
}

}  // namespace
}  // namespace qwodel
