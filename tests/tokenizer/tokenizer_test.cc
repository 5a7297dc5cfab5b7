// What a tokenizer promises besides the ids: threads, bounds, hostile vocabularies and texts.
#include "tokenizer/tokenizer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <thread>

#include "io/json.h"
#include "qwodel/tokenize.h"
#include "tests/formats/temp_directory.h"
#include "tests/sanitized.h"
#include "tests/tokenizer/golden_cases.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/merge_table.h"

namespace qwodel {
namespace {

#define EXPECT_ERROR(kind, expression, part) \
  expect_error<kind>([&] { static_cast<void>(expression); }, part)

const std::filesystem::path kStories = QWODEL_SOURCE_DIR "/tests/data/models/stories260K-hf";

Tokenizer from_json(const Json& document) {
  const TempDirectory directory;
  directory.write("tokenizer.json", document.dump());
  return load_tokenizer(directory.path());
}

Json small_bpe() {
  return {{"model",
           {{"type", "BPE"},
            {"vocab", {{"a", 0}, {"b", 1}, {"aa", 2}, {"aaaa", 3}, {"<unk>", 4}}},
            {"merges", {"a a", "aa aa"}},
            {"unk_token", "<unk>"}}}};
}

TEST(Tokenizer, TellsItsSpecialTokens) {
  const Tokenizer tokenizer = load_tokenizer(kStories);
  EXPECT_EQ(tokenizer.vocab_size(), 512u);
  EXPECT_EQ(tokenizer.bos_id(), 1u);
  EXPECT_TRUE(tokenizer.adds_bos());
  const auto ids = tokenizer.encode("Once upon a time");
  EXPECT_EQ(ids.front(), 1u);
  EXPECT_EQ(tokenizer.encode("Once upon a time", {.add_special = false}),
            std::vector<std::uint32_t>(ids.begin() + 1, ids.end()));
  EXPECT_EQ(tokenizer.decode(ids, true), "Once upon a time");
}

TEST(Tokenizer, SpecialTokensInTextsAreTextUnlessAskedFor) {
  const Tokenizer tokenizer = load_tokenizer(kStories);
  const EncodeOptions parse = {.add_special = false, .parse_special = true};
  EXPECT_EQ(tokenizer.encode("</s>", parse), std::vector<std::uint32_t>{2});
  EXPECT_GT(tokenizer.encode("</s>", {.add_special = false}).size(), 2u);
}

TEST(Tokenizer, EmptyTextHasOnlyItsSurroundings) {
  const Tokenizer tokenizer = load_tokenizer(kStories);
  EXPECT_EQ(tokenizer.encode(""), std::vector<std::uint32_t>{1});
  EXPECT_TRUE(tokenizer.encode("", {.add_special = false}).empty());
  EXPECT_EQ(tokenizer.decode({}), "");
}

TEST(Tokenizer, RefusesIdsOutOfRange) {
  const Tokenizer tokenizer = load_tokenizer(kStories);
  const std::vector<std::uint32_t> ids = {5, 512};
  EXPECT_ERROR(ValidationError, tokenizer.decode(ids), "512");
  EXPECT_ERROR(ValidationError, tokenizer.decode(std::vector<std::uint32_t>{0xFFFFFFFF}),
               "ids below 512");
}

TEST(Tokenizer, InvalidUtf8IsReplaced) {
  const Tokenizer tokenizer = load_tokenizer(kStories);
  EXPECT_EQ(tokenizer.encode("a\xFF\xC3z"), tokenizer.encode("a\uFFFD\uFFFDz"));
  // Half of a character comes back as the replacement character.
  const auto ids = tokenizer.encode("\u4E2D", {.add_special = false});
  EXPECT_EQ(tokenizer.decode(std::span(ids).first(ids.size() - 1)), "\uFFFD\uFFFD");
}

TEST(Tokenizer, ThreadsShareOneTokenizer) {
  const Tokenizer tokenizer = load_tokenizer(kStories);
  const std::string text = read_file(QWODEL_SOURCE_DIR "/tests/data/nasty.txt");
  const auto wanted = tokenizer.encode(text);
  std::vector<std::thread> threads;
  std::vector<int> same(4, 0);
  for (int& count : same) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i) count += tokenizer.encode(text) == wanted;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(same, std::vector<int>(4, 5));
}

TEST(Tokenizer, ALineOfOneLetter) {
  const std::string letters(10'000'000 / one_of(10), 'a');
  EXPECT_EQ(from_json(small_bpe()).encode(letters),
            std::vector<std::uint32_t>(letters.size() / 4, 3));
}

TEST(Tokenizer, ALineOfOneLetterWithEverySmallVocabulary) {
  for (const char* name : {"bytelevel", "unigram", "unigram_bytes", "wordpiece", "wordlevel",
                           "bpe_suffix", "bpe_prefix"}) {
    const std::string path = QWODEL_SOURCE_DIR "/tests/data/tokenizers/" + std::string(name);
    const Tokenizer tokenizer = from_json(Json::parse(read_file(path + ".json")));
    for (const char* letter : {"a", " ", "1", "\n", "\u0301"}) {
      std::string text;
      while (text.size() < 1'000'000 / one_of(10)) text += letter;
      EXPECT_NO_THROW(tokenizer.encode(text)) << name;
    }
  }
}

TEST(Tokenizer, CombiningMarksInAnyOrder) {
  Json document = small_bpe();
  document["normalizer"] = {{"type", "NFC"}};
  std::string marks = "a";
  while (marks.size() < 1'000'000) marks += "\u0301\u0323";
  EXPECT_NO_THROW(from_json(document).encode(marks));
}

TEST(Tokenizer, ATokenOfAMillionCharacters) {
  const std::string long_text(1'000'000, 'a');
  Json document = small_bpe();
  document["model"]["vocab"][long_text] = 5;
  EXPECT_EQ(from_json(document).encode("aaab"), (std::vector<std::uint32_t>{2, 0, 1}));
  // Where a token's length bounds the effort per character, such a token is refused.
  document["added_tokens"] = {{{"id", 5}, {"content", long_text}, {"special", true}}};
  EXPECT_ERROR(ValidationError, from_json(document), "1000000 bytes");
  const Json vocab = Json::array({Json::array({"<unk>", 0.0}), Json::array({long_text, -1.0})});
  const Json unigram = {{"model", {{"type", "Unigram"}, {"unk_id", 0}, {"vocab", vocab}}}};
  EXPECT_ERROR(ValidationError, from_json(unigram), "1000000 bytes");
}

TEST(Tokenizer, MergesThatFormACycleEnd) {
  // Each pair of symbols 0 and 1 gives 1 or 0 again: only the number of symbols ends this.
  MergeTable table;
  for (std::uint32_t left = 0; left < 2; ++left) {
    for (std::uint32_t right = 0; right < 2; ++right) {
      table.insert(left, right, {left * 2 + right, 1 - left}, true);
    }
  }
  for (const std::size_t size : {2U, 40U, 1000U, 100000U}) {
    std::vector<std::uint32_t> symbols(size, 0);
    MergeScratch scratch;
    merge_symbols(table, symbols, scratch);
    EXPECT_EQ(symbols.size(), 1u) << size;
  }
}

// Joined one pair at a time, as the definition says.
std::vector<std::uint32_t> merged_slowly(const MergeTable& table,
                                         std::vector<std::uint32_t> symbols) {
  for (;;) {
    const MergeRule* best = nullptr;
    std::size_t at = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const MergeRule* rule = table.find(symbols[i], symbols[i + 1]);
      if (rule == nullptr || (best != nullptr && rule->rank >= best->rank)) continue;
      best = rule;
      at = i;
    }
    if (best == nullptr) return symbols;
    symbols[at] = best->result;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

// Symbols are sums: every pair with a sum up to 40 is joined, with a rank that depends on the sum.
TEST(Tokenizer, FewAndManySymbolsAreJoinedAsTheDefinitionSays) {
  MergeTable table;
  for (std::uint32_t left = 1; left < 40; ++left) {
    for (std::uint32_t right = 1; left + right <= 40; ++right) {
      if ((left * 7 + right * 3) % 5 == 0) continue;
      table.insert(left, right, {(left * 31 + right * 17) % 23, left + right}, true);
    }
  }
  std::uint32_t state = 1;
  MergeScratch scratch;
  for (std::size_t size = 1; size < 200; ++size) {
    std::vector<std::uint32_t> symbols;
    for (std::size_t i = 0; i < size; ++i) {
      state = state * 1664525 + 1013904223;
      symbols.push_back(1 + (state >> 28) % 4);
    }
    const auto wanted = merged_slowly(table, symbols);
    merge_symbols(table, symbols, scratch);
    EXPECT_EQ(symbols, wanted) << size;
  }
}

TEST(Tokenizer, DamagedCharacterMapsAreRefusedOrHarmless) {
  EXPECT_ERROR(ValidationError, Charsmap("abc", "map"), "map");
  EXPECT_ERROR(ValidationError, Charsmap(std::string("\xFF\xFF\xFF\xFF", 4) + "x", "map"), "map");
  EXPECT_ERROR(ValidationError, Charsmap(std::string("\x03\0\0\0abc", 7), "map"), "map");
  // Offsets and replacements that lie outside.
  std::string bytes("\x10\0\0\0", 4);
  for (int i = 0; i < 16; ++i) bytes += static_cast<char>(0xF7 - i);
  const Charsmap map(bytes + "replacement", "map");
  for (int byte = 1; byte < 256; ++byte) {
    const std::string text(3, static_cast<char>(byte));
    EXPECT_NO_THROW(map.longest(text));
  }
}

TEST(Tokenizer, RefusesStepsItDoesNotKnow) {
  for (const char* part : {"normalizer", "decoder", "post_processor", "pre_tokenizer"}) {
    Json document = small_bpe();
    document[part] = {{"type", "Unheard"}};
    EXPECT_ERROR(FormatNotSupportedError, from_json(document), "Unheard");
  }
  Json document = small_bpe();
  document["post_processor"] = {{"type", "BertProcessing"}, {"sep", {"x", 9}}, {"cls", {"y", 1}}};
  EXPECT_ERROR(ValidationError, from_json(document), "id 9");
}

TEST(Tokenizer, RefusesADirectoryWithoutTokenizer) {
  const TempDirectory directory;
  EXPECT_ERROR(FormatNotSupportedError, load_tokenizer(directory.path()), "no tokenizer files");
}

TEST(Tokenizer, RefusesWordsThatCannotBeExpressed) {
  Json document = {{"model", {{"type", "WordLevel"}, {"vocab", {{"a", 0}}}}}};
  EXPECT_EQ(from_json(document).encode("a"), std::vector<std::uint32_t>{0});
  EXPECT_ERROR(ValidationError, from_json(document).encode("b"), "no token for \"b\"");
}

GgufMetadata gguf_vocabulary(const char* model, std::vector<std::string> tokens) {
  GgufMetadata metadata;
  metadata.set("tokenizer.ggml.model", model);
  metadata.set_array("tokenizer.ggml.scores", std::vector<float>(tokens.size(), -1.0F));
  metadata.set_array("tokenizer.ggml.tokens", std::move(tokens));
  return metadata;
}

TEST(GgufTokenizer, RefusesDamagedVocabularies) {
  EXPECT_ERROR(ValidationError, load_tokenizer(GgufMetadata(), "x.gguf"),
               "no tokenizer.ggml.model");
  EXPECT_ERROR(FormatNotSupportedError, load_tokenizer(gguf_vocabulary("rwkv", {"a"}), "x.gguf"),
               "rwkv");
  EXPECT_ERROR(ValidationError, load_tokenizer(gguf_vocabulary("llama", {}), "x.gguf"),
               "no tokenizer.ggml.tokens");
  EXPECT_ERROR(ValidationError, load_tokenizer(gguf_vocabulary("gpt2", {"a"}), "x.gguf"), "merges");
  auto metadata = gguf_vocabulary("llama", {"a", "b"});
  metadata.set_array("tokenizer.ggml.scores", std::vector<float>{1});
  EXPECT_ERROR(ValidationError, load_tokenizer(metadata, "x.gguf"), "1 scores");
  metadata.set_array("tokenizer.ggml.scores", std::vector<std::string>{"a", "b"});
  EXPECT_ERROR(ValidationError, load_tokenizer(metadata, "x.gguf"), "another type");
  metadata = gguf_vocabulary("gpt2", {"a"});
  metadata.set_array("tokenizer.ggml.merges", std::vector<std::string>{"a a"});
  metadata.set("tokenizer.ggml.pre", "kimi-k2");
  EXPECT_ERROR(FormatNotSupportedError, load_tokenizer(metadata, "x.gguf"), "kimi-k2");
}

TEST(GgufTokenizer, LongTokensAndLines) {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>", "a"};
  for (std::size_t size = 2; size <= 1u << 20; size *= 2) tokens.emplace_back(size, 'a');
  const Tokenizer tokenizer = load_tokenizer(gguf_vocabulary("llama", tokens), "x.gguf");
  const auto ids = tokenizer.encode(std::string((std::size_t{1} << 22) / one_of(4), 'a'),
                                    {.add_special = false});
  EXPECT_EQ(ids.back(), tokens.size() - 1);
}

TEST(GgufTokenizer, BytesThatAreNoTextHaveByteTokens) {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>", "\u2581", "a"};
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(fmt::format("<0x{:02X}>", byte));
  const Tokenizer tokenizer = load_tokenizer(gguf_vocabulary("llama", tokens), "x.gguf");
  EXPECT_EQ(tokenizer.encode("a\xFF\xE4", {.add_special = false}),
            (std::vector<std::uint32_t>{3, 4, 5 + 0xFF, 5 + 0xE4}));
}

TEST(Tokenize, ModelsAreDirectoriesOrGgufFiles) {
  TokenizeOptions options;
  options.model = kStories;
  options.text = "Once upon a time";
  const auto ids = tokenize(options);
  EXPECT_EQ(ids, load_tokenizer(kStories).encode(options.text));
  DetokenizeOptions back;
  back.model = kStories;
  back.ids = ids;
  back.skip_special = true;
  EXPECT_EQ(detokenize(back), options.text);
}

}  // namespace
}  // namespace qwodel
