// Finds the tokenizer of a directory.
#include <fmt/format.h>

#include "qwodel/error.h"
#include "tokenizer/gguf_tokenizer.h"
#include "tokenizer/pipeline_tokenizer.h"
#include "tokenizer/tokenizer.h"

namespace qwodel {

Tokenizer load_tokenizer(const std::filesystem::path& directory) {
  TokenizerFiles files = read_tokenizer_files(directory);
  if (files.has("tokenizer.json")) {
    const auto path = directory / "tokenizer.json";
    files.tokenizer = read_tokenizer_json(path);
    return Tokenizer(make_pipeline_tokenizer(files, path.string()));
  }
  throw FormatNotSupportedError({.where = directory.string(),
                                 .found = "no tokenizer files",
                                 .expected = "tokenizer.json",
                                 .remedy = "copy the tokenizer files of the original model there"});
}

Tokenizer load_tokenizer(const GgufMetadata& metadata, const std::string& source) {
  return Tokenizer(make_gguf_tokenizer(read_gguf_vocabulary(metadata, source), source));
}

}  // namespace qwodel
