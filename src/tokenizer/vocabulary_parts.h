// The tokens of a vocabulary as GGUF has them, and the readers of the different kinds of file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "formats/gguf_value.h"
#include "tokenizer/sentencepiece_model.h"
#include "tokenizer/tokenizer_files.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/vocabulary.h"

namespace qwodel {

// Values of tokenizer.ggml.token_type.
enum class TokenType : std::int32_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6,
};

// One row per token id; scores may be empty.
struct TokenTable {
  std::vector<std::string> texts;
  std::vector<float> scores;
  std::vector<TokenType> types;

  // `size` tokens [PAD0], [PAD1] ... that are unused. REQUIRES: size <= kMaxTokens.
  TokenTable(std::uint64_t size, std::optional<float> score);

  std::uint64_t size() const { return texts.size(); }
  void set(std::uint64_t id, std::string text, TokenType type) {
    texts[id] = std::move(text);
    types[id] = type;
  }
};

// tokenizer.ggml.tokens, .scores and .token_type, in this order.
void add_table(TokenTable table, GgufMetadata& metadata);

// Texts that are control tokens although no file calls them special: "<pad>", "<|...|>" and so on.
bool looks_special(std::string_view text);

// Rows of the table: config.json's number, or as many as there are ids when that is 0. Throws
// ValidationError when an id does not fit or the number is beyond kMaxTokens.
std::uint64_t table_size(std::uint64_t requested, std::uint64_t id_end, const std::string& source);

// What add_vocabulary() hands to the readers.
struct VocabularyContext {
  const VocabularyRequest& request;
  TokenizerFiles files;
};

// Each writes all keys of its kind.
void add_sentencepiece_vocabulary(VocabularyContext& context, const SentencePieceModel& model,
                                  GgufMetadata& metadata);
void add_byte_fallback_vocabulary(VocabularyContext& context, GgufMetadata& metadata);
void add_byte_level_vocabulary(VocabularyContext& context, GgufMetadata& metadata);
void add_wordpiece_vocabulary(VocabularyContext& context, GgufMetadata& metadata);
void add_unigram_vocabulary(VocabularyContext& context, GgufMetadata& metadata);
void add_unigram_vocabulary(VocabularyContext& context, const SentencePieceModel& model,
                            GgufMetadata& metadata);

// The added tokens of tokenizer.json and tokenizer_config.json together, by id, with the tokens
// that have a role (bos_token ...) among them.
std::vector<AddedToken> added_tokens_of(const TokenizerFiles& files);

// Special token ids and flags, merges before them if asked for, chat templates, normalizer flags.
void add_surroundings(const VocabularyContext& context, std::uint64_t size, bool with_merges,
                      GgufMetadata& metadata);

}  // namespace qwodel
