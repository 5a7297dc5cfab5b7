// The pipeline of tokenizer.json: added tokens, normalizer, pre-tokenizer, model, post-processor,
// decoder.
//
// Reference: the Hugging Face tokenizers library.
#pragma once

#include <memory>
#include <string>

#include "tokenizer/tokenizer_files.h"
#include "tokenizer/tokenizer_state.h"

namespace qwodel {

// Runs `files.tokenizer`; the other files tell the begin and end token. `source` names it in
// errors. Throws ValidationError, FormatNotSupportedError. REQUIRES: files.tokenizer is there.
std::unique_ptr<Tokenizer::State> make_pipeline_tokenizer(const TokenizerFiles& files,
                                                          const std::string& source);

}  // namespace qwodel
