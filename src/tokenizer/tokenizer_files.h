// The JSON files that surround a vocabulary in a Hugging Face directory.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/json.h"
#include "tokenizer/tokenizer_json.h"

namespace qwodel {

struct TokenizerFiles {
  std::filesystem::path directory;
  std::optional<TokenizerJson> tokenizer;  // tokenizer.json, whole or only what surrounds the model
  Json tokenizer_config;                   // an object; empty when there is no file
  Json model_config;                       // config.json, likewise

  bool has(const std::string& name) const;
};

// Reads tokenizer_config.json and config.json. Throws ValidationError when one is not an object.
TokenizerFiles read_tokenizer_files(const std::filesystem::path& directory);

// A JSON object of a directory; empty when there is no such file.
Json read_optional_object(const std::filesystem::path& path);

// The text of a token of tokenizer_config.json, which is a string or an object with "content";
// nothing otherwise.
std::optional<std::string> token_text(const Json& entry);

// Tokens of added_tokens.json ({"text": id}) and of tokenizer_config.json's added_tokens_decoder
// ({"id": {"content", "special", "normalized"}}), by id. Throws ValidationError for ids that are
// negative or no numbers.
std::vector<AddedToken> read_added_tokens(const std::filesystem::path& directory);
std::vector<AddedToken> parse_added_tokens_decoder(const Json& tokenizer_config,
                                                   const std::string& source);

}  // namespace qwodel
