#include <algorithm>
#include <unordered_map>

#include "tokenizer/utf8.h"
#include "tokenizer/vocabulary_parts.h"

namespace qwodel {
namespace {

constexpr const char* kSpacePrefix = "tokenizer.ggml.add_space_prefix";

bool is_byte_token(std::string_view text) {
  const auto hex = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f');
  };
  return text.size() == 6 && text.starts_with("<0x") && hex(text[3]) && hex(text[4]) &&
         text[5] == '>';
}

// The runtime joins the neighbours whose union has the highest score, so the score of a token is
// minus the rank of the first merge that makes it. Tokens that no merge makes come after all.
// llama.cpp's converter writes -1000 for every token, which loses the order of the merges.
void score_by_merges(const TokenizerJson& tokenizer, TokenTable& table) {
  std::unordered_map<std::string_view, std::uint32_t> ids;
  ids.reserve(tokenizer.vocabulary.size());
  for (const auto& entry : tokenizer.vocabulary) ids.emplace(entry.text, entry.id);
  const auto none = -static_cast<float>(tokenizer.merges.size()) - 1;
  std::fill(table.scores.begin(), table.scores.end(), none);
  std::string joined;
  for (std::size_t rank = 0; rank < tokenizer.merges.size(); ++rank) {
    joined = tokenizer.merges[rank].left;
    joined += tokenizer.merges[rank].right;
    const auto id = ids.find(joined);
    if (id == ids.end()) continue;
    float& score = table.scores[id->second];
    score = std::max(score, -static_cast<float>(rank));
  }
}

// Whether the text gets a space in front: a Prepend normalizer, or Metaspace.
bool prepends_space(const Json& definition) {
  if (!definition.is_object()) return false;
  const auto text = [&](std::string_view key) {
    const Json* value = find_member(definition, key);
    return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
  };
  if (text("type") == "Prepend") return !text("prepend").empty();
  if (text("type") == "Metaspace") {
    const Json* add = find_member(definition, "add_prefix_space");
    return text("prepend_scheme") != "never" && (add == nullptr || *add != false);
  }
  for (const char* key : {"normalizers", "pretokenizers"}) {
    const Json* steps = find_member(definition, key);
    if (steps == nullptr || !steps->is_array()) continue;
    if (std::any_of(steps->begin(), steps->end(), prepends_space)) return true;
  }
  return false;
}

}  // namespace

void add_byte_fallback_vocabulary(VocabularyContext& context, GgufMetadata& metadata) {
  const TokenizerJson& tokenizer = *context.files.tokenizer;
  const std::vector<AddedToken> added = added_tokens_of(context.files);
  std::uint64_t id_end = tokenizer.id_end();
  for (const AddedToken& token : added) id_end = std::max(id_end, std::uint64_t{token.id} + 1);
  TokenTable table(table_size(context.request.vocab_size, id_end, context.files.directory.string()),
                   0.0F);
  for (const auto& entry : tokenizer.vocabulary) {
    table.set(entry.id, entry.text,
              is_byte_token(entry.text) ? TokenType::byte : TokenType::normal);
  }
  const std::uint64_t model_end =
      tokenizer.vocabulary.empty() ? 0 : std::uint64_t{tokenizer.vocabulary.back().id} + 1;
  for (const AddedToken& token : added) {
    if (token.special) {
      table.set(token.id, token.text, TokenType::control);
    } else if (token.id >= model_end) {
      table.set(token.id, replace_all(token.text, "\u2581", " "), TokenType::user_defined);
    }
  }
  score_by_merges(tokenizer, table);

  const std::uint64_t size = table.size();
  metadata.set("tokenizer.ggml.model", "llama");
  metadata.set("tokenizer.ggml.pre", "default");
  add_table(std::move(table), metadata);
  add_surroundings(context, size, false, metadata);
  // The runtime's default is to put a space in front.
  if (!prepends_space(tokenizer.normalizer) && !prepends_space(tokenizer.pre_tokenizer) &&
      metadata.find(kSpacePrefix) == nullptr) {
    metadata.set_bool(kSpacePrefix, false);
  }
}

}  // namespace qwodel
