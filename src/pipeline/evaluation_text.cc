#include "pipeline/evaluation_text.h"

#include "qwodel/error.h"

namespace qwodel {

std::optional<Tokenizer> tokenizer_for(const SourceModel& model, const std::filesystem::path& path,
                                       const std::filesystem::path& text) {
  const bool is_needed = text.extension() != ".ids" && text.extension() != ".tokens";
  try {
    if (model.is_gguf()) return load_tokenizer(*model.checkpoint->gguf_metadata(), path.string());
    return load_tokenizer(model.checkpoint->directory());
  } catch (const Error&) {
    if (is_needed) throw;
    return std::nullopt;
  }
}

std::string chat_template_of(const SourceModel& model) {
  return model.spec.metadata.find_string("tokenizer.chat_template").value_or("");
}

TokenSequences read_chunks(const RunningModel& model, const std::filesystem::path& path,
                           const std::filesystem::path& text, std::uint64_t context,
                           std::uint64_t max_chunks) {
  const auto tokenizer = tokenizer_for(model.source, path, text);
  const CorpusOptions options{.tokenizer = tokenizer ? &*tokenizer : nullptr,
                              .vocab_size = model.graph.vocab_size,
                              .chat_template = ""};
  std::optional<std::uint32_t> bos;
  if (tokenizer && tokenizer->adds_bos()) bos = tokenizer->bos_id();
  return cut_chunks(tokenize_file(text, options), context, max_chunks, bos, text.string());
}

}  // namespace qwodel
