#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "qwodel/error.h"
#include "tokenizer/tiktoken.h"
#include "tokenizer/vocabulary_parts.h"

namespace qwodel {
namespace {

constexpr float kGapScore = -10000, kAddedScore = -1000;

// The step of this type in a normalizer or pre_tokenizer, or nullptr.
const Json* find_step(const Json& definition, std::string_view type) {
  const Json* name = find_member(definition, "type");
  if (name == nullptr) return nullptr;
  if (*name == type) return &definition;
  for (const char* key : {"normalizers", "pretokenizers"}) {
    const Json* steps = find_member(definition, key);
    if (steps == nullptr || !steps->is_array()) continue;
    for (const Json& step : *steps) {
      if (const Json* found = find_step(step, type)) return found;
    }
  }
  return nullptr;
}

bool is_text(const Json* value, std::string_view text) { return value && *value == text; }

bool adds_space_prefix(const TokenizerJson& tokenizer) {
  const Json* metaspace = find_step(tokenizer.pre_tokenizer, "Metaspace");
  if (metaspace == nullptr) return false;
  const Json* add = find_member(*metaspace, "add_prefix_space");
  return !is_text(find_member(*metaspace, "prepend_scheme"), "never") &&
         (add == nullptr || *add != false);
}

// Runs of spaces become one: words are cut out at white space, or a normalizer replaces " {2,}".
bool removes_extra_spaces(const TokenizerJson& tokenizer) {
  if (find_step(tokenizer.pre_tokenizer, "WhitespaceSplit") != nullptr) return true;
  const Json* replace = find_step(tokenizer.normalizer, "Replace");
  const Json* pattern = replace != nullptr ? find_member(*replace, "pattern") : nullptr;
  return pattern != nullptr && is_text(find_member(*pattern, "Regex"), " {2,}");
}

std::vector<std::uint8_t> charsmap_of(const TokenizerJson& tokenizer, const std::string& source) {
  const Json* step = find_step(tokenizer.normalizer, "Precompiled");
  const Json* text = step != nullptr ? find_member(*step, "precompiled_charsmap") : nullptr;
  if (text == nullptr || !text->is_string()) return {};
  const auto bytes = decode_base64(text->get_ref<const std::string&>());
  if (!bytes) {
    throw ValidationError({.where = source,
                           .found = "a precompiled_charsmap that is not base64",
                           .expected = "base64",
                           .remedy = ""});
  }
  return {bytes->begin(), bytes->end()};
}

TokenTable table_of(const VocabularyContext& context) {
  const TokenizerJson& tokenizer = *context.files.tokenizer;
  const std::vector<AddedToken> added = added_tokens_of(context.files);
  std::uint64_t id_end = tokenizer.id_end();
  for (const AddedToken& token : added) id_end = std::max(id_end, std::uint64_t{token.id} + 1);
  TokenTable table(table_size(context.request.vocab_size, id_end, context.files.directory.string()),
                   kGapScore);
  const std::uint32_t first_free = static_cast<std::uint32_t>(tokenizer.vocabulary.size());
  for (const auto& entry : tokenizer.vocabulary) {
    const bool unknown = tokenizer.unknown_id == entry.id;
    table.set(entry.id, entry.text, unknown ? TokenType::unknown : TokenType::normal);
    table.scores[entry.id] = static_cast<float>(entry.score);
  }
  for (const AddedToken& token : added) {
    if (tokenizer.unknown_id == token.id) continue;
    table.set(token.id, token.text, token.special ? TokenType::control : TokenType::user_defined);
    if (token.id >= first_free) table.scores[token.id] = kAddedScore;
  }
  return table;
}

}  // namespace

void add_unigram_vocabulary(VocabularyContext& context, GgufMetadata& metadata) {
  const TokenizerJson& tokenizer = *context.files.tokenizer;
  const std::string source = (context.files.directory / "tokenizer.json").string();
  TokenTable table = table_of(context);
  const std::uint64_t size = table.size();
  metadata.set("tokenizer.ggml.model", "t5");
  metadata.set("tokenizer.ggml.pre", "default");
  add_table(std::move(table), metadata);
  metadata.set_bool("tokenizer.ggml.add_space_prefix", adds_space_prefix(tokenizer));
  metadata.set_bool("tokenizer.ggml.remove_extra_whitespaces", removes_extra_spaces(tokenizer));
  if (auto charsmap = charsmap_of(tokenizer, source); !charsmap.empty()) {
    metadata.set_array("tokenizer.ggml.precompiled_charsmap", std::move(charsmap));
  }
  add_surroundings(context, size, false, metadata);
}

}  // namespace qwodel
