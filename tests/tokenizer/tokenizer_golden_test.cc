// Token ids and decoded texts against those of the reference tokenizers, as hashes.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include "tests/sanitized.h"
#include "tests/tokenizer/golden_cases.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace qwodel {
namespace {

std::string hash(const void* data, std::size_t size) {
  return fmt::format("{:016x}", XXH3_64bits(data, size));
}

Json row_of(const std::vector<std::uint32_t>& ids) {
  return Json::array({ids.size(), hash(ids.data(), ids.size() * sizeof(std::uint32_t))});
}

Tokenizer open(const std::string& kind, const TempDirectory& directory) {
  if (kind != "llama.cpp") return load_tokenizer(directory.path());
  return load_tokenizer(read_gguf(MappedFile(directory / "model.gguf")).metadata, "model.gguf");
}

// The golden row of a text: ids with special tokens, without, then the texts they decode to.
void compare(const Tokenizer& tokenizer, const std::string& text, const Json& golden,
             const std::string& what) {
  std::optional<std::vector<std::uint32_t>> shown;
  for (const bool special : {true, false}) {
    const Json& wanted = golden[special ? 0 : 1];
    if (wanted.is_null()) continue;
    auto ids = tokenizer.encode(text, {.add_special = true, .parse_special = special});
    EXPECT_EQ(row_of(ids), wanted) << what << (special ? " with special tokens" : "");
    if (!shown) shown = std::move(ids);
  }
  ASSERT_TRUE(shown);
  for (const bool skip : {false, true}) {
    const Json& wanted = golden[skip ? 3 : 2];
    if (wanted.is_null()) continue;
    const std::string decoded = tokenizer.decode(*shown, skip);
    EXPECT_EQ(hash(decoded.data(), decoded.size()), wanted.get<std::string>())
        << what << " decoded" << (skip ? " without special tokens" : "");
  }
}

TEST(TokenizerGolden, IdsAndTextsEqualTheReferences) {
  const Json golden = read_json(QWODEL_SOURCE_DIR "/tests/golden/tokens.json");
  std::size_t compared = 0, skipped = 0, seen = 0;
  for (const auto& [name, entry] : golden["cases"].items()) {
    const TempDirectory directory;
    if (!make_case_directory(entry["files"], directory)) {
      ++skipped;
      continue;
    }
    const auto kind = entry["kind"].get<std::string>();
    try {
      const Tokenizer tokenizer = open(kind, directory);
      for (const auto& [text, row] : entry["texts"].items()) {
        const auto path = find_data(text);
        if (!path) {
          ++skipped;
          continue;
        }
        if (seen++ % one_of(4) != 0) continue;
        std::string data = read_file(*path);
        if (kind == "llama.cpp") data = to_valid_utf8(data);
        compare(tokenizer, data, row, name + ", " + text);
        ++compared;
      }
    } catch (const Error& error) {
      ADD_FAILURE() << name << ": " << error.what();
    }
  }
  EXPECT_GE(compared, 60 / one_of(4)) << "the cases of tests/data alone are more";
  if (skipped > 0) {
    GTEST_SKIP() << compared << " texts compared; " << skipped
                 << " cases or texts skipped, their files are not in " << shared_directory()
                 << " (set QWODEL_SHARED)";
  }
}

// llama.cpp's own tests: texts between separators, and a line of ids for each.
void compare_vocabulary_tests(const std::filesystem::path& folder, const std::string& name,
                              const Tokenizer& tokenizer) {
  const std::string separator = "\n__ggml_vocab_test__\n";
  const std::string inputs = read_file(folder / (name + ".inp"));
  std::ifstream outputs(folder / (name + ".out"));
  std::size_t tests = 0;
  for (std::size_t at = 0; at < inputs.size(); ++tests) {
    const std::size_t end = std::min(inputs.find(separator, at), inputs.size());
    const std::string text = inputs.substr(at, end - at);
    std::string line;
    std::getline(outputs, line);
    std::istringstream numbers(line);
    std::vector<std::uint32_t> wanted;
    for (std::uint32_t id = 0; numbers >> id;) wanted.push_back(id);
    EXPECT_EQ(tokenizer.encode(text, {.add_special = false}), wanted) << name << ": " << text;
    at = end + separator.size();
  }
  EXPECT_GT(tests, 40u) << name;
}

TEST(TokenizerGolden, PassesTheTestsOfLlamaCppsVocabularies) {
  const auto folder = shared_directory() / "tokenizers/llama.cpp-vocab";
  if (!std::filesystem::is_directory(folder)) GTEST_SKIP() << folder << " is not there";
  std::size_t vocabularies = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() != ".gguf" || !std::filesystem::exists(folder / (name + ".inp"))) {
      continue;
    }
    const MappedFile file(entry.path());
    compare_vocabulary_tests(folder, name, load_tokenizer(read_gguf(file).metadata, name));
    ++vocabularies;
  }
  EXPECT_GE(vocabularies, 10u);
}

}  // namespace
}  // namespace qwodel
