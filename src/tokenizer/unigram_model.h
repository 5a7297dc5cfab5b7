// Unigram: of all ways to cut a word into tokens the one with the highest sum of scores.
//
// Kudo 2018, arXiv:1804.10959; found by dynamic programming (Viterbi).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tokenizer/byte_trie.h"
#include "tokenizer/subword_model.h"
#include "tokenizer/tokenizer_json.h"

namespace qwodel {

struct UnigramParts {
  std::string source;
  ByteTrie trie;               // of the tokens that may be taken, with their ids
  std::vector<double> scores;  // by id
  std::optional<std::uint32_t> unknown;
  double unknown_score = 0;  // of a character that no token is
  bool byte_fallback = false;
  std::array<std::uint32_t, 256> byte_tokens;  // kNoToken for none

  UnigramParts() { byte_tokens.fill(kNoToken); }
};

class UnigramModel final : public SubwordModel {
 public:
  explicit UnigramModel(UnigramParts parts) : parts_(std::move(parts)) {}

  // Neighbouring unknown characters become one unknown token, or their bytes.
  void encode(std::string_view word, EncodeScratch& scratch,
              std::vector<std::uint32_t>& ids) const override;

 private:
  void find_path(std::string_view word, std::vector<EncodeScratch::PathNode>& path) const;
  void add_unknown(std::string_view part, std::vector<std::uint32_t>& ids) const;

  UnigramParts parts_;
};

// Throws ValidationError for tokens of more than kMaxTrieText bytes or an unknown id that is none.
UnigramParts unigram_parts_of(const TokenizerJson& tokenizer, const std::string& source);

// Throws that ValidationError for a text that is too long for a trie.
void check_trie_text(std::string_view text, const std::string& source);

}  // namespace qwodel
