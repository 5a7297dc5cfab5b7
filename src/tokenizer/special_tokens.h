// Roles of tokens (begin, end, padding ...) and whether they are put around a text.
//
// The rules are those of llama.cpp's converter (gguf-py, SpecialVocab), so that both write the same
// keys in the same order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "formats/gguf_value.h"
#include "tokenizer/tokenizer_files.h"

namespace qwodel {

struct SpecialTokens {
  std::vector<std::pair<std::string, std::uint32_t>> ids;  // role ("bos", "eot") to token id
  std::vector<std::pair<std::string, bool>> add;           // role to: is it added to a text
  std::optional<bool> lowercase, strip_accents;            // of the normalizer
};

// Looks at tokenizer.json (post-processor, added tokens), tokenizer_config.json and config.json.
// Ids from `vocab_size` on are left out. Throws ValidationError for a negative id.
SpecialTokens find_special_tokens(const TokenizerFiles& files, std::uint64_t vocab_size);

// tokenizer.ggml.*_token_id, then .add_*_token.
void add_special_token_ids(const SpecialTokens& special, GgufMetadata& metadata);

// tokenizer.ggml.normalizer.*: behind the chat templates.
void add_normalizer_flags(const SpecialTokens& special, GgufMetadata& metadata);

}  // namespace qwodel
