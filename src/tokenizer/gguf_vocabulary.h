// The vocabulary inside a GGUF: the keys tokenizer.ggml.*, checked, with what llama.cpp assumes
// where they are silent.
//
// Reference: llama.cpp b11739, src/llama-vocab.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "formats/gguf_value.h"
#include "tokenizer/tokenizer_json.h"

namespace qwodel {

struct GgufToken {
  std::string text;
  float score = 0;
  bool normal = false, unknown = false, control = false, user_defined = false, unused = false,
       byte = false;
  bool lstrip = false, rstrip = false;  // takes the white space on that side with it
};

struct GgufVocabulary {
  enum class Kind : std::uint8_t { spm, bpe, wpm, ugm };
  Kind kind = Kind::spm;
  std::string pre = "default";
  std::vector<GgufToken> tokens;
  std::vector<Merge> merges;
  std::optional<std::uint32_t> bos, eos, unknown, separator;
  bool add_bos = false, add_eos = false;
  bool add_space_prefix = false;
  bool remove_extra_whitespaces = false;
  bool lowercase = true, strip_accents = true;  // bert
  std::string charsmap;                         // bytes
};

// Throws ValidationError (missing or damaged keys), FormatNotSupportedError (another model).
GgufVocabulary read_gguf_vocabulary(const GgufMetadata& metadata, const std::string& source);

}  // namespace qwodel
