// Finds the special tokens of a GGUF's vocabulary in a text as llama.cpp does: longer tokens first,
// wherever they are, and of equal ones the leftmost.
#pragma once

#include <string_view>
#include <vector>

#include "tokenizer/byte_trie.h"
#include "tokenizer/gguf_vocabulary.h"
#include "tokenizer/regex.h"

namespace qwodel {

class SpecialTokenSearch {
 public:
  // Throws ValidationError for special tokens of more than kMaxTrieText bytes. Keeps a pointer.
  SpecialTokenSearch(const std::vector<GgufToken>& tokens, const std::string& source);

  struct Part {
    TextRange range;
    std::uint32_t id = kNoToken;  // text between tokens when there is none
  };

  // The parts in order, none without token empty. Control and unknown tokens are text if not
  // `special`; user-defined ones are always found.
  std::vector<Part> split(std::string_view text, bool special) const;

 private:
  const std::vector<GgufToken>& tokens_;
  ByteTrie all_, user_defined_;
};

}  // namespace qwodel
