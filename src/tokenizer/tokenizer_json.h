// A tokenizer.json file (the format of the Hugging Face tokenizers library), parsed and checked.
//
// Here are the parts as the file has them; what pre_tokenizer means is in
// tokenizer/pre_tokenizer.h. vocab.json with merges.txt and tiktoken files are read into the same
// structure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace qwodel {

enum class TokenModel : std::uint8_t { bpe, unigram, wordpiece, wordlevel };

struct VocabularyEntry {
  std::string text;
  std::uint32_t id = 0;
  double score = 0;  // unigram only: log probability
};

// Two tokens that byte-pair encoding joins; an earlier pair is joined first.
struct Merge {
  std::string left, right;
};

struct AddedToken {
  std::string text;
  std::uint32_t id = 0;
  bool special = false;                 // not shown when decoding
  bool normalized = false;              // is looked for after the normalizer
  bool single_word = false;             // only where no word characters touch it
  bool lstrip = false, rstrip = false;  // takes the white space on that side with it
  bool text_is_normalized = false;      // the normalizer is not applied to the text itself
};

// What says which tokens byte-pair encoding joins.
enum class MergeOrder : std::uint8_t {
  list,    // the list of merges
  scores,  // any two whose texts together are a token, the highest score first (SentencePiece)
  ids,     // the same, the lowest id first (tiktoken)
};

struct TokenizerJson {
  TokenModel kind = TokenModel::bpe;
  std::vector<VocabularyEntry> vocabulary;  // by id; ids are unique, texts too
  std::vector<Merge> merges;                // bpe only
  MergeOrder merge_order = MergeOrder::list;
  std::optional<std::string> unknown_token;
  std::optional<std::uint32_t> unknown_id;  // unigram only
  std::string continuing_subword_prefix, end_of_word_suffix;
  bool fuse_unknown = false;  // neighbouring unknown characters are one token
  std::optional<std::uint64_t> max_word_characters;  // wordpiece only: longer ones are unknown
  bool byte_fallback = false;
  bool ignore_merges = false;            // a word that is a token is taken whole
  std::vector<AddedToken> added_tokens;  // in the file's order

  // The file's objects, or null.
  Json normalizer, pre_tokenizer, post_processor, decoder;

  // One more than the largest id of vocabulary and added tokens.
  std::uint64_t id_end() const;
};

// Rows that an embedding has at most: a bound on what a file can make us allocate.
inline constexpr std::uint64_t kMaxTokens = std::uint64_t{1} << 22;

// Throws ValidationError: syntax, missing or wrong members, negative or too large ids, two tokens
// of one id, merges that join or give something that is no token. `source` names the bytes in
// errors.
TokenizerJson parse_tokenizer_json(std::string_view text, const std::string& source);

TokenizerJson read_tokenizer_json(const std::filesystem::path& path);

// What surrounds the model: added tokens, normalizer and so on. Vocabulary and merges stay empty.
TokenizerJson read_tokenizer_surroundings(const std::filesystem::path& path);

// The value of "model" alone, without the checks of check_vocabulary().
TokenizerJson parse_tokenizer_model(Json& model, const std::string& source);

// vocab.json and merges.txt. The pre-tokenizer, normalizer and so on stay null: these files do not
// tell them.
TokenizerJson read_vocab_and_merges(const std::filesystem::path& vocab,
                                    const std::filesystem::path& merges);

// vocab.txt: one WordPiece per line, ids in order.
TokenizerJson read_vocab_txt(const std::filesystem::path& path);

// Sorts by id and checks what parse_tokenizer_json promises of vocabulary and merges.
void check_vocabulary(TokenizerJson& tokenizer, const std::string& source);

}  // namespace qwodel
