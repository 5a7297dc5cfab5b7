// Puts the texts of tokens together to a text, as the member "decoder" of tokenizer.json says.
//
// Reference: the Hugging Face tokenizers library (decoders).
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "io/json_fwd.h"
#include "tokenizer/normalizer.h"

namespace qwodel {

struct ByteLevelDecoding {};
struct ByteFallbackDecoding {};  // tokens "<0x0A>" are bytes
struct FuseDecoding {};          // all tokens become one
struct MetaspaceDecoding {
  std::string replacement;
  bool drops_first = true;  // those of the first token become nothing instead of spaces
};
struct WordPieceDecoding {
  std::string prefix;
  bool cleanup = true;
};
struct BpeDecoding {
  std::string suffix;
};
struct StripDecoding {
  std::string content;  // one character
  std::size_t start = 0, stop = 0;
};
struct CtcDecoding {
  std::string padding, delimiter;
  bool cleanup = true;
};

class TokenDecoder {
 public:
  using Step =
      std::variant<ByteLevelDecoding, ByteFallbackDecoding, FuseDecoding, MetaspaceDecoding,
                   WordPieceDecoding, BpeDecoding, StripDecoding, CtcDecoding, ReplaceStep>;

  // `definition` may be null: tokens are then joined with spaces. Throws FormatNotSupportedError
  // for a step that is unknown, ValidationError for one that is incomplete.
  TokenDecoder(const Json& definition, const std::string& source);

  // Tokens need not be valid UTF-8; the result is.
  std::string decode(std::vector<std::string> tokens) const;

 private:
  void add(const Json& definition, const std::string& source, int depth);

  std::vector<Step> steps_;
};

}  // namespace qwodel
