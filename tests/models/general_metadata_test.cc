#include "models/general_metadata.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "io/json.h"
#include "models/model_card.h"
#include "models/model_id.h"
#include "tests/formats/temp_directory.h"
#include "tokenizer/utf8.h"

namespace qwodel {
namespace {

// A directory with a given name.
class NamedDirectory {
 public:
  explicit NamedDirectory(const std::string& name) : path_(root_ / name) {
    std::filesystem::create_directory(path_);
  }

  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }

 private:
  TempDirectory root_;
  std::filesystem::path path_;
};

// [key, type, value] as the golden file has them.
Json to_json(const GgufMetadata& metadata) {
  Json entries = Json::array();
  for (const auto& [key, value] : metadata.entries()) {
    if (const auto* text = std::get_if<std::string>(&value)) {
      entries.push_back({key, "string", *text});
    } else if (const auto* array = std::get_if<GgufArray>(&value)) {
      entries.push_back({key, "array", std::get<std::vector<std::string>>(*array)});
    } else if (const auto* count = std::get_if<std::uint32_t>(&value)) {
      entries.push_back({key, "uint32", *count});
    } else if (const auto* integer = std::get_if<std::int32_t>(&value)) {
      entries.push_back({key, "int32", *integer});
    } else {
      entries.push_back({key, "float32", std::get<float>(value)});
    }
  }
  return entries;
}

// The golden file has float32 values in the precision of their JSON source.
Json in_single_precision(Json entries) {
  for (Json& entry : entries) {
    if (entry[1] == "float32") entry[2] = entry[2].get<float>();
  }
  return entries;
}

TEST(GeneralMetadata, EqualsTheConverters) {
  const Json golden = read_json(QWODEL_SOURCE_DIR "/tests/golden/general_metadata.json");
  ASSERT_GT(golden["cases"].size(), 100u);
  for (const Json& entry : golden["cases"]) {
    const NamedDirectory directory(entry["directory"].get<std::string>());
    if (entry.contains("readme")) directory.write("README.md", entry["readme"]);
    if (entry.contains("generation")) {
      directory.write("generation_config.json", entry["generation"]);
    }
    const auto total = entry["total"].get<std::uint64_t>();
    const ParameterCount count{total, entry.value("shared", total),
                               entry.value("expert", std::uint64_t{0}),
                               entry.value("expert_count", std::uint64_t{0})};
    GgufMetadata metadata;
    metadata.set_string("general.architecture", "llama");
    add_general_metadata(directory.path(), entry.value("config", Json::object()),
                         entry.value("name", ""), count, metadata);
    EXPECT_EQ(to_json(metadata), in_single_precision(entry["entries"])) << entry.dump(1);
    // Without a name the converter's file name begins with '-', or with the directory's name.
    if (metadata.find("general.name") != nullptr) {
      EXPECT_EQ(artifact_name(metadata, "q4_k_m"), entry["artifact_name"]) << entry.dump(1);
    }
  }
}

// What the converter stops at must not stop a conversion.
TEST(GeneralMetadata, DamagedCardsAreIgnored) {
  const std::string cards[] = {
      "---\nname: [\n---\n",
      "---\nname: A\n  b: c\n: :\n---\n",
      "---\nname: \xff\xfe\n---\n",
      "---\nname: &a [*a\n---\n",
      "---\nname: !!binary {x\n---\n",
      "---\n" + std::string(100'000, '[') + "\n---\n",
      "---\n" + std::string(100'000, '{') + "\n---\n",
      "---\n" + std::string(20'000, '-') + "\n---\n",
  };
  for (const std::string& card : cards) {
    const NamedDirectory directory("Base-7B");
    directory.write("README.md", card);
    GgufMetadata metadata;
    add_general_metadata(directory.path(), Json::object(), "", {}, metadata);
    EXPECT_EQ(metadata.find_string("general.name"), "Base 7B") << card.substr(0, 40);
    EXPECT_EQ(metadata.entries().size(), 4u) << to_json(metadata).dump();
  }
}

TEST(GeneralMetadata, ScalarsThatAreNotTextAreTakenAsWritten) {
  const NamedDirectory directory("Base-7B");
  directory.write(
      "README.md",
      "---\nname: [x]\nversion: 1.0\nauthor: 2024-01-01\nlanguage: [en, no, 1, ~]\n---\n");
  directory.write("generation_config.json",
                  "{\"top_k\": 5.5, \"top_p\": \"x\", \"temperature\": 1e300, \"mirostat\": 3e10}");
  GgufMetadata metadata;
  add_general_metadata(directory.path(), Json{{"_name_or_path", 5}}, "", {}, metadata);
  const Json expected = {{"general.type", "string", "model"},
                         {"general.name", "string", "Base 7B"},
                         {"general.author", "string", "2024-01-01"},
                         {"general.version", "string", "1.0"},
                         {"general.basename", "string", "Base"},
                         {"general.size_label", "string", "7B"},
                         {"general.languages", "array", {"en", "no", "1"}}};
  EXPECT_EQ(to_json(metadata), expected);
}

// Nine levels of ten aliases each would be 10^9 values.
TEST(ModelCard, AliasesCannotBlowItUp) {
  const NamedDirectory directory("bomb");
  std::string yaml = "---\nname: A\na0: &a0 [" + std::string(2000, 'x') + "]\n";
  for (int level = 1; level < 10; ++level) {
    yaml += fmt::format("a{0}: &a{0} [", level);
    for (int i = 0; i < 10; ++i) yaml += fmt::format("*a{}, ", level - 1);
    yaml += "]\n";
  }
  directory.write("README.md", yaml + "---\n");
  EXPECT_EQ(load_model_card(directory.path()).find("name")->text, "A");

  yaml = "---\na: &a " + std::string(1'000'000, 'x') + "\nb: [";
  for (int i = 0; i < 1000; ++i) yaml += "*a, ";
  directory.write("README.md", yaml + "]\n---\n");
  EXPECT_TRUE(load_model_card(directory.path()).items.empty());
}

TEST(ModelCard, MissingFilesAreEmptyCards) {
  EXPECT_TRUE(load_model_card("/nonexistent/directory").items.empty());
  const NamedDirectory directory("x");
  std::filesystem::create_directory(directory.path() / "README.md");
  EXPECT_TRUE(load_model_card(directory.path()).items.empty());
}

TEST(ModelId, DirectoryWithoutOwnName) {
  GgufMetadata metadata;
  add_general_metadata("some/Thing-7B/./", Json::object(), "", {}, metadata);
  EXPECT_EQ(metadata.find_string("general.name"), "Thing 7B");
}

TEST(ArtifactName, HasNoSlash) {
  GgufMetadata metadata;
  EXPECT_EQ(artifact_name(metadata, "f16"), "ggml-model-F16");
  metadata.set_string("general.basename", " a/b c ");
  metadata.set_string("general.finetune", "../x");
  EXPECT_EQ(artifact_name(metadata, ""), "a-b-c-..-x");
}

TEST(ModelId, InvalidUtf8IsReplaced) {
  EXPECT_EQ(to_valid_utf8("a\xff\xc3"), "a\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(to_valid_utf8("é"), "é");
}

}  // namespace
}  // namespace qwodel
