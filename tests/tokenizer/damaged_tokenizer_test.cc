// Damaged and hostile tokenizer files: one clear error each.

#include <gtest/gtest.h>

#include "tests/tokenizer/golden_cases.h"
#include "tokenizer/sentencepiece_model.h"
#include "tokenizer/tiktoken.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/vocabulary.h"

namespace qwodel {
namespace {

const std::string kStories = QWODEL_SOURCE_DIR "/tests/data/models/stories260K-hf/";

Json small_bpe() {
  return {
      {"model", {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}}}, {"merges", {"a b"}}}},
      {"pre_tokenizer", {{"type", "ByteLevel"}}},
      {"decoder", {{"type", "ByteLevel"}}}};
}

GgufMetadata convert(const Json& tokenizer, std::uint64_t vocab_size = 0,
                     const Json& config = Json::object()) {
  const TempDirectory directory;
  directory.write("tokenizer.json", tokenizer.dump());
  directory.write("config.json", config.dump());
  GgufMetadata metadata;
  add_vocabulary({.directory = directory.path(),
                  .kinds = {VocabularyKind::byte_fallback_bpe, VocabularyKind::byte_level_bpe,
                            VocabularyKind::wordpiece, VocabularyKind::unigram},
                  .vocab_size = vocab_size},
                 metadata);
  return metadata;
}

template <class E = ValidationError>
void expect_refused(const Json& tokenizer, std::string_view part, std::uint64_t vocab_size = 0) {
  expect_error<E>([&] { convert(tokenizer, vocab_size); }, part);
}

TEST(DamagedTokenizer, SmallOneIsAccepted) {
  const GgufMetadata metadata = convert(small_bpe(), 4);
  const auto& array = std::get<GgufArray>(*metadata.find("tokenizer.ggml.tokens"));
  EXPECT_EQ(std::get<std::vector<std::string>>(array),
            (std::vector<std::string>{"a", "b", "ab", "[PAD3]"}));
  EXPECT_EQ(metadata.find_string("tokenizer.ggml.pre"), "gpt-2");
}

TEST(DamagedTokenizer, NothingToTellTheModelBy) {
  Json file = small_bpe();
  file["model"] = Json::object();
  expect_error<ValidationError>([&] { parse_tokenizer_json(file.dump(), "t.json"); },
                                "no \"vocab\"");
}

TEST(DamagedTokenizer, Ids) {
  Json file = small_bpe();
  file["model"]["vocab"]["b"] = -1;
  expect_refused(file, "id -1 of token \"b\"");
  file["model"]["vocab"]["b"] = 1.5;
  expect_refused(file, "as id of token \"b\"");
  file["model"]["vocab"]["b"] = "1";
  expect_refused(file, "as id of token \"b\"");
  file["model"]["vocab"]["b"] = 0;
  expect_refused(file, "id 0 for \"a\" and \"b\"");
  file["model"]["vocab"]["b"] = 18446744073709551615U;
  expect_refused(file, "id 18446744073709551615");
  file["model"]["vocab"]["b"] = 4000000000U;
  expect_refused(file, "id 4000000000");
  file["model"]["vocab"]["b"] = 7;
  expect_refused(file, "token id 7", 4);
}

TEST(DamagedTokenizer, AddedTokens) {
  Json file = small_bpe();
  file["added_tokens"] = {{{"id", 4000000000U}, {"content", "<x>"}}};
  expect_refused(file, "id 4000000000 of token \"<x>\"");
  file["added_tokens"] = {{{"id", 9}, {"content", "<x>"}}};
  expect_refused(file, "token id 9", 4);
  file["added_tokens"] = {{{"content", "<x>"}}};
  expect_refused(file, "added token 0");
  file["added_tokens"] = 3;
  expect_refused(file, "added_tokens");
}

TEST(DamagedTokenizer, VocabSizeOfConfigIsBounded) {
  expect_error<ValidationError>([] { convert(small_bpe(), std::uint64_t{1} << 40); }, "vocab_size");
}

TEST(DamagedTokenizer, Merges) {
  Json file = small_bpe();
  file["model"]["merges"] = {"a c"};
  expect_refused(file, "\"c\" in merge 0");
  file["model"]["merges"] = {"b a"};
  expect_refused(file, "\"ba\" in merge 0");
  file["model"]["merges"] = {"a b c"};
  expect_refused(file, "merge 0");
  file["model"]["merges"] = {"ab"};
  expect_refused(file, "merge 0");
  file["model"]["merges"] = {{"a", "b", "c"}};
  expect_refused(file, "merge 0");
  file["model"]["merges"] = {7};
  expect_refused(file, "merge 0: 7");
}

TEST(DamagedTokenizer, Shape) {
  expect_refused(Json::array(), "JSON array");
  expect_refused({{"model", 1}}, "JSON number");
  expect_refused({{"version", 1}}, "no \"model\"");
  expect_refused({{"model", {{"type", "BPE"}}}}, "no \"vocab\"");
  expect_refused({{"model", {{"type", "Neural"}, {"vocab", 1}}}}, "\"Neural\"");
  Json file = small_bpe();
  file["model"]["vocab"] = Json::array();
  expect_refused(file, "\"vocab\" of another kind");
  file = small_bpe();
  file["normalizer"] = "NFC";
  expect_refused(file, "\"normalizer\" of another kind");
  Json unigram = {{"model", {{"type", "Unigram"}, {"vocab", {{"a", -1.5}, {"b"}}}}}};
  expect_refused(unigram, "entry 1 of \"vocab\"");
}

TEST(DamagedTokenizer, RegexThatDoesNotCompileOrEnd) {
  Json file = small_bpe();
  const auto with = [&](const char* regex) {
    file["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers",
         {{{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}},
          {{"type", "ByteLevel"}, {"use_regex", false}}}}};
    return file;
  };
  expect_refused(with("(?<"), "(?<");
  expect_refused(with("(?:(?:[^q]+)+)+\\x{10FFFF}"), "limit");
}

TEST(DamagedTokenizer, TextIsNotJson) {
  const std::string whole = read_file(kStories + "tokenizer.json");
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, whole.size() / 2, whole.size() - 2}) {
    expect_error<ValidationError>([&] { parse_tokenizer_json(whole.substr(0, size), "t.json"); },
                                  "t.json: found invalid JSON");
  }
  // A lone surrogate is no character: Python could read it but not write it as UTF-8.
  expect_error<ValidationError>(
      [] { parse_tokenizer_json(R"({"model":{"vocab":{"\ud800":0}}})", "t.json"); },
      "invalid JSON");
  expect_error<ValidationError>(
      [] { parse_tokenizer_json("{\"model\":{\"vocab\":{\"\xff\":0}}}", "t.json"); },
      "invalid JSON");
}

TEST(DamagedTokenizer, NoTokenizerAtAll) {
  const TempDirectory directory;
  GgufMetadata metadata;
  const auto add = [&] {
    add_vocabulary({.directory = directory.path(), .kinds = {VocabularyKind::sentencepiece}},
                   metadata);
  };
  expect_error<FormatNotSupportedError>(add, "no tokenizer files");
  directory.write("tokenizer.json", small_bpe().dump());
  expect_error<FormatNotSupportedError>(add, "tokenizer.json of another kind");
  EXPECT_TRUE(metadata.entries().empty());
}

TEST(DamagedTokenizer, NegativeSpecialId) {
  expect_error<ValidationError>([] { convert(small_bpe(), 0, {{"eos_token_id", -2}}); },
                                "eos_token_id -2");
}

TEST(DamagedTokenizer, PreOverrideMustBeKnown) {
  const TempDirectory directory;
  directory.write("tokenizer.json", small_bpe().dump());
  VocabularyRequest request{
      .directory = directory.path(), .kinds = {VocabularyKind::byte_level_bpe}, .pre = "qwen2"};
  GgufMetadata metadata;
  add_vocabulary(request, metadata);
  EXPECT_EQ(metadata.find_string("tokenizer.ggml.pre"), "qwen2");
  request.pre = "qwen-2";
  expect_error<ValidationError>([&] { add_vocabulary(request, metadata); }, "\"qwen-2\"");
}

TEST(DamagedSentencePiece, EveryTruncationIsRefusedOrShorter) {
  const std::string whole = read_file(kStories + "tokenizer.model");
  const auto parse = [](const std::string& bytes) {
    return parse_sentencepiece(std::as_bytes(std::span(bytes)), "tokenizer.model");
  };
  const std::size_t pieces = parse(whole).pieces.size();
  EXPECT_EQ(pieces, 512u);
  std::size_t refused = 0;
  for (std::size_t size = 0; size < whole.size(); ++size) {
    try {
      // A cut between two fields leaves a valid message with fewer of them.
      EXPECT_LE(parse(whole.substr(0, size)).pieces.size(), pieces);
    } catch (const ValidationError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, whole.size() / 2);
  expect_error<ValidationError>([&] { parse("hello"); }, "not a protobuf message");
  expect_error<ValidationError>([&] { parse(""); }, "no pieces");
}

TEST(DamagedTiktoken, Lines) {
  const auto parse = [](const char* text) { return [text] { parse_tiktoken(text, "t"); }; };
  EXPECT_EQ(parse_tiktoken("YQ== 0\nYg== 1\r\nYWI= 2\n", "t").merges.size(), 1u);
  expect_error<ValidationError>(parse("YQ== 0\nYg== 2\n"), "line 2");
  expect_error<ValidationError>(parse("YQ== -1\n"), "line 1");
  expect_error<ValidationError>(parse("YQ= 0\n"), "line 1");
  expect_error<ValidationError>(parse("YQ==\n"), "line 1");
  expect_error<ValidationError>(parse("YQ== 0\nYQ== 1\n"), "rank 1 twice");
  expect_error<ValidationError>(parse("\n"), "no tokens");
}

}  // namespace
}  // namespace qwodel
