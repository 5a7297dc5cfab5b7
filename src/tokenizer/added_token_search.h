// Finds added tokens ("<|im_end|>", runs of spaces) in a text.
//
// Reference: the Hugging Face tokenizers library (added_vocabulary.rs): the leftmost token, and of
// those that begin there the longest.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/byte_trie.h"
#include "tokenizer/regex.h"
#include "tokenizer/tokenizer_json.h"

namespace qwodel {

class AddedTokenSearch {
 public:
  // A token and the text to look for, which may be another one than the token's own. Throws
  // ValidationError for a text of more than kMaxTrieText bytes. Empty texts are left out.
  struct Wanted {
    AddedToken token;
    std::string text;
  };
  AddedTokenSearch(std::vector<Wanted> wanted, const std::string& source);

  bool empty() const { return wanted_.empty(); }

  // A part of the text: a token, or text between tokens (then id is kNoToken).
  struct Part {
    TextRange range;
    std::uint32_t id = kNoToken;
  };

  // The parts in order, none without token empty. Special tokens are text if not `special`.
  // REQUIRES: UTF-8.
  std::vector<Part> split(std::string_view text, bool special) const;

 private:
  TextRange longest_at(std::string_view text, std::size_t at, std::uint32_t& index) const;

  std::vector<Wanted> wanted_;
  ByteTrie trie_;
};

}  // namespace qwodel
