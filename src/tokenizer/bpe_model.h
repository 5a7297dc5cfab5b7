// Byte-pair encoding of a word: its bytes or characters are symbols, and pairs are joined by rank.
//
// Sennrich et al. 2016, arXiv:1508.07909. Three kinds of file lead here: tokenizer.json's "BPE"
// with a list of merges; vocabularies whose scores or ranks say which neighbours are joined
// (SentencePiece, tiktoken), where every way to cut a token in two is a merge; and GGUF's.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/subword_model.h"
#include "tokenizer/token_index.h"
#include "tokenizer/tokenizer_json.h"

namespace qwodel {

// Characters, as their UTF-8 bytes in one number, to symbols.
class CharacterTable {
 public:
  // The bytes of one character, or up to four bytes that form none.
  static std::uint32_t key_of(std::string_view character);

  void insert(std::uint32_t key, std::uint32_t symbol);
  std::uint32_t find(std::uint32_t key) const {  // kNoToken when it is not there
    return key < ascii_.size() ? ascii_[key] : find_wide(key);
  }
  CharacterTable() { ascii_.fill(kNoToken); }

 private:
  std::uint32_t find_wide(std::uint32_t key) const;
  void grow();

  std::array<std::uint32_t, 128> ascii_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> slots_;  // open addressing; key 0 is free
  std::size_t count_ = 0;
};

// What a BPE model is made of. Symbols below `first_expanded` are token ids.
struct BpeParts {
  std::string source;                           // names the vocabulary in errors
  bool bytes_are_symbols = false;               // byte-level: words are bytes, not characters
  std::array<std::uint32_t, 256> byte_symbols;  // byte-level, or fallback; kNoToken for none
  bool byte_fallback = false;  // a character without symbol becomes byte_symbols, if all are there
  bool raw_bytes = false;  // these bytes are never joined, and those without symbol are left out
  CharacterTable characters;
  MergeTable merges;
  std::optional<std::uint32_t> unknown;
  bool fuse_unknown = false;
  TokenIndex whole_words;         // words that are a token as they are
  TokenIndex marked;              // symbols with prefix or suffix, if there are such
  std::string continuing_prefix;  // of every symbol but a word's first
  std::string word_suffix;        // of a word's last symbol
  std::uint32_t first_expanded = kNoToken;
  std::vector<std::vector<std::uint32_t>> expansions;  // token ids of the symbols from there on

  BpeParts() { byte_symbols.fill(kNoToken); }
};

class BpeModel final : public SubwordModel {
 public:
  explicit BpeModel(BpeParts parts) : parts_(std::move(parts)) {}

  void encode(std::string_view word, EncodeScratch& scratch,
              std::vector<std::uint32_t>& ids) const override;

 private:
  void add_bytes(std::string_view word, std::vector<std::uint32_t>& symbols) const;
  void add_characters(std::string_view word, std::vector<std::uint32_t>& symbols) const;
  std::uint32_t marked_symbol(std::string_view character, bool first, bool last) const;
  bool add_fallback(std::string_view character, std::vector<std::uint32_t>& symbols) const;
  void add_ids(const std::vector<std::uint32_t>& symbols, std::vector<std::uint32_t>& ids) const;

  BpeParts parts_;
};

// The parts of tokenizer.json's model. `byte_level`: words come as bytes and the vocabulary is
// written in the byte alphabet. Throws ValidationError when the unknown token is not there.
BpeParts bpe_parts_of(const TokenizerJson& tokenizer, bool byte_level, const std::string& source);

// The same for a vocabulary whose merge_order is not a list.
BpeParts cut_parts_of(const TokenizerJson& tokenizer, bool byte_level, const std::string& source);

// Adds a merge for every way to cut each token in two symbols, ranked by `ranks` (per token). The
// pieces of a cut are tokens or, `characters` known, single characters; those that are no token get
// symbols from parts.first_expanded on. `texts` are the tokens' texts; empty ones are no tokens.
void add_all_cuts(const std::vector<std::string>& texts, const std::vector<std::uint32_t>& ranks,
                  BpeParts& parts);

// The byte of a token "<0x0A>" (or "<0x0a>" in any case), or nothing for another text.
std::optional<std::uint8_t> byte_of_token(std::string_view text, bool any_case = false);

// Equal scores have equal ranks, the highest score rank 0. REQUIRES: none is NaN.
std::vector<std::uint32_t> ranks_by_score(const std::vector<float>& scores);

// Bytes of the character at the start of `text` by its first byte alone, as far as there are any.
std::size_t character_size(std::string_view text);

}  // namespace qwodel
