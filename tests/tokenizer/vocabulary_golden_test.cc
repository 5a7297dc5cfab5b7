// Tokenizer keys against those of llama.cpp's converter: key by key, in order.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <map>

#include "tests/sanitized.h"
#include "tests/tokenizer/golden_cases.h"
#include "tokenizer/vocabulary.h"

namespace qwodel {
namespace {

// Where Qwodel does otherwise on purpose; docs/tokenizer_differences.md has the reasons.
struct Difference {
  std::string_view case_part;  // of the case's name
  std::string_view key;        // its value differs, or only one of the two writes it
};
constexpr Difference kDifferences[] = {
    // Scores are ranks of merges, not -1000.
    {"stories260K-hf json", "tokenizer.ggml.scores"},
    {"babyllama-tok361-hf json", "tokenizer.ggml.scores"},
    // Padded to vocab_size; </s> and <|end|> are control tokens.
    {"phi-3 json", "tokenizer.ggml.tokens"},
    {"phi-3 json", "tokenizer.ggml.scores"},
    {"phi-3 json", "tokenizer.ggml.token_type"},
    // Names of one family: the same splitting.
    {"refact", "tokenizer.ggml.pre"},
    // The name that keeps ignore_merges; add_bos_token is false in both.
    {"llama-3.2 without bos", "tokenizer.ggml.pre"},
    // Told by the pre-tokenizer and normalizer of tokenizer.json.
    {"t5-small", "tokenizer.ggml.add_space_prefix"},
    {"t5-small", "tokenizer.ggml.remove_extra_whitespaces"},
    {"bert-base-cased", "tokenizer.ggml.normalizer.lowercase"},
    // Written with the model's metadata.
    {"t5-small", "tokenizer.ggml.token_type_count"},
    {"bert-base-cased", "tokenizer.ggml.token_type_count"},
};

bool expected_to_differ(const std::string& name, const std::string& key) {
  for (const Difference& row : kDifferences) {
    if (name.find(row.case_part) != std::string::npos && key == row.key) return true;
  }
  return false;
}

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  std::string bytes;
  for (const T& value : values) {
    if constexpr (std::is_same_v<T, std::string>) {
      const auto size = static_cast<std::uint64_t>(value.size());
      bytes.append(reinterpret_cast<const char*>(&size), sizeof size);
      bytes += value;
    } else if constexpr (std::is_trivially_copyable_v<T>) {
      bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
  }
  return bytes;
}

std::string hash(const std::string& bytes) {
  return fmt::format("{:016x}", XXH3_64bits(bytes.data(), bytes.size()));
}

Json array_row(const std::string& key, const GgufArray& array) {
  Json row = Json::array({key});
  std::visit(
      [&](const auto& values) {
        using Values = std::decay_t<decltype(values)>;
        if constexpr (std::is_same_v<Values, std::monostate>) {
          FAIL() << key;
        } else {
          using T = typename Values::value_type;
          row.push_back(std::is_same_v<T, std::string>    ? "string[]"
                        : std::is_same_v<T, float>        ? "f32[]"
                        : std::is_same_v<T, std::int32_t> ? "i32[]"
                        : std::is_same_v<T, std::uint8_t> ? "u8[]"
                                                          : "another array");
          row.push_back(values.size());
          row.push_back(hash(bytes_of(values)));
        }
      },
      array);
  return row;
}

// [key, type, value] as the golden file has them.
Json row_of(const std::string& key, const GgufValue& value) {
  if (const auto* array = std::get_if<GgufArray>(&value)) return array_row(key, *array);
  if (const auto* text = std::get_if<std::string>(&value)) {
    if (text->size() > 40) return {key, "string", text->size(), hash(*text)};
    return {key, "string", *text};
  }
  if (const auto* flag = std::get_if<GgufBool>(&value)) return {key, "bool", flag->value};
  return {key, "u32", std::get<std::uint32_t>(value)};
}

VocabularyRequest request_of(const Json& entry, const std::filesystem::path& directory) {
  static const std::map<std::string, VocabularyKind> kKinds = {
      {"sentencepiece", VocabularyKind::sentencepiece},
      {"phi3", VocabularyKind::sentencepiece},
      {"llama_hf", VocabularyKind::byte_fallback_bpe},
      {"gpt2", VocabularyKind::byte_level_bpe},
      {"bert", VocabularyKind::wordpiece},
      {"xlm_roberta", VocabularyKind::unigram}};
  const auto kind = entry["kind"].get<std::string>();
  VocabularyRequest request;
  request.directory = directory;
  request.kinds = {kKinds.at(kind)};
  request.vocab_size = entry["vocab_size"].get<std::uint64_t>();
  if (kind == "phi3") request.added_tokens = AddedTokenRule::as_declared;
  return request;
}

std::map<std::string, Json> by_key(const Json& rows) {
  std::map<std::string, Json> result;
  for (const Json& row : rows) result[row[0].get<std::string>()] = row;
  return result;
}

// The converter gives up where it does not recognise the pre-tokenizer.
bool without_pre(const Json& entry) { return entry.contains("pre") && entry["pre"].is_null(); }

void compare(const std::string& name, const Json& wanted_rows, const Json& got_rows) {
  const auto wanted = by_key(wanted_rows), got = by_key(got_rows);
  std::vector<std::string> wanted_order, got_order;
  for (const Json& row : wanted_rows) {
    const auto key = row[0].get<std::string>();
    if (expected_to_differ(name, key)) {
      EXPECT_TRUE(!got.contains(key) || got.at(key) != row)
          << name << ": " << key << " is listed as different and is the same";
      continue;
    }
    wanted_order.push_back(key);
    EXPECT_TRUE(got.contains(key) && got.at(key) == row)
        << name << ": wanted " << row.dump() << ", got "
        << (got.contains(key) ? got.at(key).dump() : "nothing");
  }
  for (const Json& row : got_rows) {
    const auto key = row[0].get<std::string>();
    if (!expected_to_differ(name, key)) got_order.push_back(key);
    if (!wanted.contains(key)) {
      EXPECT_TRUE(expected_to_differ(name, key)) << name << ": more: " << row.dump();
    }
  }
  EXPECT_EQ(wanted_order, got_order) << name;
}

TEST(VocabularyGolden, KeysEqualTheConverters) {
  const Json golden = read_json(QWODEL_SOURCE_DIR "/tests/golden/tokenizers.json");
  std::vector<std::string> skipped;
  std::size_t compared = 0, seen = 0;
  for (const auto& [name, entry] : golden["cases"].items()) {
    const TempDirectory directory;
    if (!make_case_directory(entry["files"], directory)) {
      skipped.push_back(name);
      continue;
    }
    if (seen++ % one_of(3) != 0) continue;
    GgufMetadata metadata;
    try {
      add_vocabulary(request_of(entry, directory.path()), metadata);
    } catch (const Error& error) {
      ADD_FAILURE() << name << ": " << error.what();
      continue;
    }
    Json rows = Json::array();
    if (without_pre(entry)) {
      EXPECT_TRUE(metadata.erase("tokenizer.ggml.pre")) << name;
    }
    for (const auto& [key, value] : metadata.entries()) rows.push_back(row_of(key, value));
    compare(name, entry["keys"], rows);
    ++compared;
  }
  EXPECT_GE(compared, 9 / one_of(3)) << "the cases of tests/data alone are more";
  if (!skipped.empty()) {
    GTEST_SKIP() << compared << " cases compared; " << skipped.size()
                 << " skipped, their files are not in " << shared_directory()
                 << " (set QWODEL_SHARED)";
  }
}

}  // namespace
}  // namespace qwodel
