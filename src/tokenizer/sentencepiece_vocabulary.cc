#include <fmt/format.h>

#include "qwodel/error.h"
#include "tokenizer/utf8.h"
#include "tokenizer/vocabulary_parts.h"

namespace qwodel {
namespace {

constexpr float kGapScore = -10000, kAddedScore = -1000;

TokenType type_of(PieceType type) {
  // User-defined pieces are normal: llama.cpp's converter takes only added tokens for such.
  return type == PieceType::user_defined ? TokenType::normal
                                         : static_cast<TokenType>(static_cast<int>(type));
}

TokenTable table_of(const SentencePieceModel& model, std::uint64_t requested,
                    const std::string& source) {
  // Pieces beyond the embedding's rows have no weights.
  TokenTable table(table_size(requested, 0, source) == 0 ? model.pieces.size() : requested,
                   kGapScore);
  for (std::size_t id = 0; id < model.pieces.size() && id < table.size(); ++id) {
    const auto& piece = model.pieces[id];
    table.set(id, piece.text, type_of(piece.type));
    table.scores[id] = piece.score;
  }
  return table;
}

void put(TokenTable& table, const AddedToken& token, std::string text, TokenType type) {
  if (token.id >= table.size()) return;
  table.set(token.id, std::move(text), type);
  table.scores[token.id] = kAddedScore;
}

void put_added_tokens(const VocabularyContext& context, TokenTable& table) {
  const TokenizerFiles& files = context.files;
  for (const AddedToken& token : read_added_tokens(files.directory)) {
    put(table, token, token.text, TokenType::user_defined);
  }
  const bool as_declared = context.request.added_tokens == AddedTokenRule::as_declared;
  const auto put_declared = [&](const AddedToken& token) {
    put(table, token, token.text, token.special ? TokenType::control : TokenType::user_defined);
  };
  const auto source = (files.directory / "tokenizer_config.json").string();
  for (const AddedToken& token : parse_added_tokens_decoder(files.tokenizer_config, source)) {
    if (as_declared) {
      put_declared(token);
    } else if (token.special || looks_special(token.text)) {
      put(table, token, token.text, TokenType::control);
    } else {
      // The runtime looks for these tokens before it writes spaces as U+2581.
      put(table, token, replace_all(token.text, "\u2581", " "), TokenType::user_defined);
    }
  }
  if (as_declared && files.tokenizer) {
    for (const AddedToken& token : files.tokenizer->added_tokens) put_declared(token);
  }
}

}  // namespace

void add_sentencepiece_vocabulary(VocabularyContext& context, const SentencePieceModel& model,
                                  GgufMetadata& metadata) {
  const std::string source = (context.files.directory / "tokenizer.model").string();
  TokenTable table = table_of(model, context.request.vocab_size, source);
  put_added_tokens(context, table);
  const std::uint64_t size = table.size();
  metadata.set("tokenizer.ggml.model", "llama");
  metadata.set("tokenizer.ggml.pre", "default");
  add_table(std::move(table), metadata);
  add_surroundings(context, size, false, metadata);
}

void add_unigram_vocabulary(VocabularyContext& context, const SentencePieceModel& model,
                            GgufMetadata& metadata) {
  const std::string source = context.files.directory.string();
  TokenTable table = table_of(model, context.request.vocab_size, source);
  for (const AddedToken& token : read_added_tokens(context.files.directory)) {
    put(table, token, token.text, TokenType::user_defined);
  }
  const std::uint64_t size = table.size();
  metadata.set("tokenizer.ggml.model", "t5");
  metadata.set("tokenizer.ggml.pre", "default");
  add_table(std::move(table), metadata);
  metadata.set_bool("tokenizer.ggml.add_space_prefix", model.add_dummy_prefix);
  metadata.set_bool("tokenizer.ggml.remove_extra_whitespaces", model.remove_extra_whitespaces);
  if (!model.precompiled_charsmap.empty()) {
    metadata.set_array("tokenizer.ggml.precompiled_charsmap",
                       std::vector<std::uint8_t>(model.precompiled_charsmap.begin(),
                                                 model.precompiled_charsmap.end()));
  }
  add_surroundings(context, size, false, metadata);
}

}  // namespace qwodel
