#include "qwodel/tokenize.h"

#include "formats/gguf_reader.h"
#include "tokenizer/tokenizer.h"

namespace qwodel {
namespace {

Tokenizer open_tokenizer(const std::filesystem::path& model) {
  const bool is_file = std::filesystem::is_regular_file(model);
  if (!is_file || !looks_like_gguf(model)) return load_tokenizer(model);
  return load_tokenizer(read_gguf(MappedFile(model)).metadata, model.string());
}

}  // namespace

std::vector<std::uint32_t> tokenize(const TokenizeOptions& options) {
  return open_tokenizer(options.model)
      .encode(options.text,
              {.add_special = options.add_special, .parse_special = options.parse_special});
}

std::string detokenize(const DetokenizeOptions& options) {
  return open_tokenizer(options.model).decode(options.ids, options.skip_special);
}

}  // namespace qwodel
