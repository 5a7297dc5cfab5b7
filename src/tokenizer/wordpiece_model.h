// WordPiece (the longest token that begins the rest of a word, again and again) and WordLevel (a
// word is a token).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tokenizer/byte_trie.h"
#include "tokenizer/subword_model.h"
#include "tokenizer/token_index.h"
#include "tokenizer/tokenizer_json.h"

namespace qwodel {

// A word that cannot be cut so, or has too many characters, is the unknown token as a whole.
class WordPieceModel final : public SubwordModel {
 public:
  // Throws ValidationError for tokens of more than kMaxTrieText bytes.
  WordPieceModel(const TokenizerJson& tokenizer, const std::string& source);

  void encode(std::string_view word, EncodeScratch& scratch,
              std::vector<std::uint32_t>& ids) const override;

 private:
  std::string source_;
  ByteTrie starts_, continuations_;  // without the prefix of what continues a word
  std::optional<std::uint32_t> unknown_;
  std::uint64_t max_characters_;
};

class WordLevelModel final : public SubwordModel {
 public:
  WordLevelModel(const TokenizerJson& tokenizer, std::string source);

  void encode(std::string_view word, EncodeScratch& scratch,
              std::vector<std::uint32_t>& ids) const override;

 private:
  std::string source_;
  TokenIndex index_;
  std::optional<std::uint32_t> unknown_;
};

}  // namespace qwodel
