// The tokens that are put around a text, as the member "post_processor" of tokenizer.json says.
//
// Reference: the Hugging Face tokenizers library (processors), for one text, not for pairs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/json_fwd.h"

namespace qwodel {

struct SurroundingTokens {
  std::vector<std::uint32_t> before, after;
};

// `definition` may be null: none. Throws FormatNotSupportedError for a processor that is unknown or
// a template that does not hold the text exactly once, ValidationError for an incomplete one.
SurroundingTokens surrounding_tokens(const Json& definition, const std::string& source);

}  // namespace qwodel
