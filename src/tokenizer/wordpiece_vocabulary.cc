#include <algorithm>

#include "tokenizer/vocabulary_parts.h"

namespace qwodel {
namespace {

constexpr const char* kLowercase = "tokenizer.ggml.normalizer.lowercase";

// WordPiece marks what continues a word ("##ing"); the runtime marks what starts one, with U+2581.
std::string to_word_start(const std::string& text, const std::string& prefix) {
  return text.starts_with(prefix) ? text.substr(prefix.size()) : "\u2581" + text;
}

}  // namespace

void add_wordpiece_vocabulary(VocabularyContext& context, GgufMetadata& metadata) {
  const TokenizerJson& tokenizer = *context.files.tokenizer;
  const std::string prefix =
      tokenizer.continuing_subword_prefix.empty() ? "##" : tokenizer.continuing_subword_prefix;
  const std::vector<AddedToken> added = added_tokens_of(context.files);
  std::uint64_t id_end = tokenizer.id_end();
  for (const AddedToken& token : added) id_end = std::max(id_end, std::uint64_t{token.id} + 1);
  TokenTable table(table_size(context.request.vocab_size, id_end, context.files.directory.string()),
                   std::nullopt);
  for (const auto& entry : tokenizer.vocabulary) {
    table.set(entry.id, entry.text, TokenType::normal);
  }
  for (const AddedToken& token : added) {
    const bool control = token.special || looks_special(token.text);
    table.set(token.id, token.text, control ? TokenType::control : TokenType::user_defined);
  }
  for (std::uint64_t id = 0; id < table.size(); ++id) {
    if (table.types[id] == TokenType::control) continue;
    table.texts[id] = to_word_start(table.texts[id], prefix);
  }

  const std::uint64_t size = table.size();
  metadata.set("tokenizer.ggml.model", "bert");
  // The runtime splits WordPiece texts in one way only and ignores this key; the name is the one
  // that llama.cpp's converter has for BERT's uncased vocabulary.
  metadata.set_string("tokenizer.ggml.pre",
                      context.request.pre.empty() ? "jina-v2-en" : context.request.pre);
  add_table(std::move(table), metadata);
  add_surroundings(context, size, false, metadata);
  // A directory with vocab.txt only tells this in tokenizer_config.json; the default is lower case.
  const Json* lowercase = find_member(context.files.tokenizer_config, "do_lower_case");
  if (tokenizer.normalizer.is_null() && lowercase != nullptr && lowercase->is_boolean() &&
      metadata.find(kLowercase) == nullptr) {
    metadata.set_bool(kLowercase, lowercase->get<bool>());
  }
}

}  // namespace qwodel
