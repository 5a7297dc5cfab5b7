// tiktoken files: a line per token, its bytes in base64 and its rank, which is its id.
//
// Format: openai/tiktoken, load.py. The file tells neither the pre-tokenizer nor special tokens.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "tokenizer/tokenizer_json.h"

namespace qwodel {

// Nothing when the text is not base64 with padding.
std::optional<std::string> decode_base64(std::string_view text);

std::string encode_base64(std::string_view bytes);

// True when the first line is base64, a space and a number.
bool looks_like_tiktoken(std::span<const std::byte> bytes);

// Tokens in the byte alphabet and the merges that give them: the merge of a token joins the two
// parts that byte-pair encoding with the tokens of lower rank leaves of it. The pre_tokenizer is
// that of the published vocabulary with this number of tokens, or null when there is none. Throws
// ValidationError for a line of another form, ranks with gaps, a token of more than 4096 bytes.
TokenizerJson parse_tiktoken(std::string_view text, const std::string& source);

TokenizerJson read_tiktoken(const std::filesystem::path& path);

}  // namespace qwodel
