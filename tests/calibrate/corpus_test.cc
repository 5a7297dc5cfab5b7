// Texts in all their forms become the token ids they should, and blocks are cut where they should.
#include "calibrate/corpus.h"

#include <gtest/gtest.h>

#include <numeric>

#include "calibrate/chat_messages.h"
#include "io/json.h"
#include "qwodel/error.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

const Tokenizer& tokenizer() {
  static const Tokenizer loaded =
      load_tokenizer(std::filesystem::path(QWODEL_SOURCE_DIR) / "models/stories260K");
  return loaded;
}

CorpusOptions options() {
  return {.tokenizer = &tokenizer(), .vocab_size = 512, .chat_template = ""};
}

TEST(Corpus, EveryFormIsRead) {
  const TempDirectory directory;
  const auto ids = tokenizer().encode("Once upon a time");
  const auto text = directory.write("b.txt", "Once upon a time");
  const auto lines = directory.write(
      "c.jsonl", "{\"text\": \"Once upon a time\"}\n\n{\"text\": \"Once upon a time\"}");
  const auto numbers = directory.write("a.ids", "[1, 2\n3 511]");
  directory.write("ignored.bin", "\x01\x02");
  EXPECT_EQ(read_corpus(text.string(), options()).tokens, ids);
  std::vector<std::uint32_t> twice = ids;
  twice.insert(twice.end(), ids.begin(), ids.end());
  EXPECT_EQ(read_corpus(lines.string(), options()).tokens, twice);
  std::vector<std::uint32_t> all = {1, 2, 3, 511};
  EXPECT_EQ(read_corpus(numbers.string(), {.vocab_size = 512, .chat_template = ""}).tokens, all);
  all.insert(all.end(), ids.begin(), ids.end());
  all.insert(all.end(), twice.begin(), twice.end());
  EXPECT_EQ(read_corpus(directory.path().string(), options()).tokens, all);
  EXPECT_GT(read_corpus("builtin", options()).tokens.size(), 50000u);
}

TEST(Corpus, WhatIsNoCorpusIsAnError) {
  const TempDirectory directory;
  const auto refused = [&](const char* name, const char* content, const CorpusOptions& with) {
    EXPECT_THROW(read_corpus(directory.write(name, content).string(), with), ValidationError)
        << content;
  };
  refused("empty.txt", " \n", options());
  refused("a.jsonl", "{\"text\": 3}", options());
  refused("b.jsonl", "{\"text\": \"x\"}\n{broken", options());
  refused("c.jsonl", "{\"messages\": [{\"role\": \"user\"}]}", options());
  refused("d.ids", "1 512", options());
  refused("e.ids", "1 -2", options());
  refused("f.txt", "text", {.vocab_size = 512, .chat_template = ""});
  refused("g.txt", "text", {.tokenizer = &tokenizer(), .vocab_size = 3, .chat_template = ""});
  EXPECT_THROW(read_corpus((directory / "none.txt").string(), options()), DependencyError);
}

TEST(Corpus, ConversationsFollowTheTemplate) {
  const Json messages =
      parse_json(R"([{"role":"system","content":"S"},{"role":"user","content":"U"},)"
                 R"({"role":"assistant","content":"A"}])",
                 "test");
  const auto text = [&](const char* chat_template) {
    return conversation_text(messages, chat_template, "test").text;
  };
  EXPECT_EQ(text("{{'<|im_start|>' + role}}"),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
            "<|im_start|>assistant\nA<|im_end|>\n");
  EXPECT_EQ(text("<start_of_turn>"),
            "<start_of_turn>system\nS<end_of_turn>\n<start_of_turn>user\nU<end_of_turn>\n"
            "<start_of_turn>model\nA<end_of_turn>\n");
  EXPECT_EQ(text("<|user|> <|end|>"),
            "<|system|>\nS<|end|>\n<|user|>\nU<|end|>\n<|assistant|>\nA<|end|>\n");
  EXPECT_EQ(text(""), "system: S\n\nuser: U\n\nassistant: A\n\n");
  EXPECT_FALSE(conversation_text(messages, "", "test").has_special_tokens);
  EXPECT_TRUE(conversation_text(messages, "[INST]", "test").has_special_tokens);
}

TEST(Corpus, SamplesAreSpreadAndChunksAreNot) {
  Corpus corpus{.name = "numbers", .tokens = std::vector<std::uint32_t>(105)};
  std::iota(corpus.tokens.begin(), corpus.tokens.end(), 0u);
  const TokenSequences three = sample_corpus(corpus, 3, 10);
  EXPECT_EQ(three.ends, (std::vector<std::uint64_t>{10, 20, 30}));
  EXPECT_EQ(three.tokens[0], 0u);
  EXPECT_EQ(three.tokens[10], 30u);
  EXPECT_EQ(three.tokens[29], 69u);
  EXPECT_EQ(sample_corpus(corpus, 128, 10).size(), 10u);
  EXPECT_THROW(sample_corpus(corpus, 1, 106), ValidationError);
  const TokenSequences chunks = cut_chunks(corpus.tokens, 25, 0, 7u, "numbers");
  EXPECT_EQ(chunks.size(), 4u);
  EXPECT_EQ(chunks.tokens[25], 7u);
  EXPECT_EQ(chunks.tokens[26], 26u);
  EXPECT_EQ(cut_chunks(corpus.tokens, 25, 2, std::nullopt, "numbers").tokens[25], 25u);
  EXPECT_THROW(cut_chunks(corpus.tokens, 106, 0, std::nullopt, "numbers"), ValidationError);
  EXPECT_NE(hash_of(three), hash_of(sample_corpus(corpus, 2, 15)));
}

}  // namespace
}  // namespace qwodel
