// How llama.cpp splits a text for each name that tokenizer.ggml.pre may have.
//
// pre_families.h is about the pre-tokenizers of the models; llama.cpp splits a little otherwise in
// places (letters are upper or lower case only in ASCII, Falcon's digits), and a GGUF is tokenized
// as its runtime does it.
#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace qwodel {

struct GgufPreTokenizer {
  std::vector<std::string_view> patterns = {};  // applied in turn, matches and gaps isolated
  bool ignore_merges = false;
  bool adds_begin = false;     // unless the file says otherwise
  bool cleans_spaces = true;   // when decoding
  bool writes_spaces = false;  // characters, not bytes, are symbols, and spaces are U+2581
};

// Throws FormatNotSupportedError for a name that is unknown or has rules that are no expressions.
GgufPreTokenizer gguf_pre_tokenizer(std::string_view name);

}  // namespace qwodel
