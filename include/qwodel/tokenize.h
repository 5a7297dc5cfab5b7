// Text to token ids and back, with the tokenizer of a model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "qwodel/error.h"

namespace qwodel {

struct TokenizeOptions {
  std::filesystem::path model;  // Hugging Face directory (weights are not needed) or .gguf
  std::string text;             // UTF-8; bytes that are none count as U+FFFD
  bool add_special = true;      // begin and end tokens as the tokenizer puts them around a text
  bool parse_special = false;   // "</s>" in the text is the token, not characters
};

// Throws Error: no tokenizer there, or one that is damaged or of an unknown kind.
std::vector<std::uint32_t> tokenize(const TokenizeOptions& options);

struct DetokenizeOptions {
  std::filesystem::path model;
  std::vector<std::uint32_t> ids;
  bool skip_special = false;  // leave special tokens out
};

// Throws Error as tokenize(), and for ids that the vocabulary does not have.
std::string detokenize(const DetokenizeOptions& options);

}  // namespace qwodel
