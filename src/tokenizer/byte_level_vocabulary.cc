#include <fmt/format.h>

#include <algorithm>

#include "qwodel/error.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/pre_families.h"
#include "tokenizer/tiktoken.h"
#include "tokenizer/utf8.h"
#include "tokenizer/vocabulary_parts.h"

namespace qwodel {
namespace {

constexpr const char* kAddBegin = "tokenizer.ggml.add_bos_token";

bool has_step(const Json& definition, std::string_view list, std::string_view type) {
  const Json* name = find_member(definition, "type");
  if (name != nullptr && *name == type) return true;
  const Json* steps = find_member(definition, list);
  if (steps == nullptr || !steps->is_array()) return false;
  return std::any_of(steps->begin(), steps->end(),
                     [&](const Json& step) { return has_step(step, list, type); });
}

// A template "<s> A": a begin token that is not the end token's double.
bool adds_begin(const Json& post_processor) {
  if (const Json* processors = find_member(post_processor, "processors");
      processors != nullptr && processors->is_array()) {
    return std::any_of(processors->begin(), processors->end(), adds_begin);
  }
  const Json* single = find_member(post_processor, "single");
  return single != nullptr && single->is_array() && single->size() > 1 &&
         find_member(single->front(), "SpecialToken") != nullptr;
}

bool is_spaces(std::string_view text) {
  return text.size() > 1 && text.find_first_not_of(' ') == std::string_view::npos;
}

PreTraits traits_of(const TokenizerFiles& files, const std::vector<AddedToken>& added) {
  const TokenizerJson& tokenizer = *files.tokenizer;
  PreTraits traits;
  traits.ignore_merges = tokenizer.ignore_merges;
  traits.adds_begin = adds_begin(tokenizer.post_processor);
  traits.adds_separator = has_step(tokenizer.post_processor, "processors", "RobertaProcessing");
  traits.composes = has_step(tokenizer.normalizer, "normalizers", "NFC");
  traits.space_tokens = std::any_of(added.begin(), added.end(),
                                    [](const auto& token) { return is_spaces(token.text); });
  const Json* clean = find_member(files.tokenizer_config, "clean_up_tokenization_spaces");
  if (clean != nullptr && clean->is_boolean()) {
    traits.cleans_spaces = clean->get<bool>();
    traits.keeps_spaces = !traits.cleans_spaces;
  }
  return traits;
}

std::string pre_name(const VocabularyContext& context, const std::vector<AddedToken>& added) {
  const std::string& wanted = context.request.pre;
  if (!wanted.empty()) {
    if (is_pre_name(wanted)) return wanted;
    throw ValidationError({.where = "--tokenizer-pre",
                           .found = fmt::format("\"{}\"", wanted),
                           .expected = "a name that the runtime knows",
                           .remedy = "for example llama-bpe, qwen2, gpt-2, gpt-4o or tekken"});
  }
  const TokenizerJson& tokenizer = *context.files.tokenizer;
  const std::string source = (context.files.directory / "tokenizer.json").string();
  return derive_pre_name(PreTokenizer(tokenizer.pre_tokenizer, source),
                         traits_of(context.files, added), source);
}

// The runtime looks for added tokens in the text as it is, so what a normalizer or decoder does to
// them is done here.
void put_added_token(TokenTable& table, const AddedToken& token) {
  const std::string text = token.normalized ? token.text : decode_byte_level(token.text);
  if (token.special || looks_special(text)) {
    table.set(token.id, text, TokenType::control);
  } else {
    table.set(token.id, replace_all(text, "\u2581", " "), TokenType::user_defined);
  }
}

}  // namespace

void add_byte_level_vocabulary(VocabularyContext& context, GgufMetadata& metadata) {
  const TokenizerJson& tokenizer = *context.files.tokenizer;
  const std::vector<AddedToken> added = added_tokens_of(context.files);
  std::uint64_t id_end = tokenizer.id_end();
  for (const AddedToken& token : added) id_end = std::max(id_end, std::uint64_t{token.id} + 1);
  TokenTable table(table_size(context.request.vocab_size, id_end, context.files.directory.string()),
                   std::nullopt);
  for (const auto& entry : tokenizer.vocabulary) {
    table.set(entry.id, entry.text, TokenType::normal);
  }
  for (const AddedToken& token : added) put_added_token(table, token);

  const std::uint64_t size = table.size();
  const std::string pre = pre_name(context, added);
  metadata.set("tokenizer.ggml.model", "gpt2");
  metadata.set_string("tokenizer.ggml.pre", pre);
  add_table(std::move(table), metadata);
  add_surroundings(context, size, true, metadata);
  // The runtime would put a begin token in front of every text for this name.
  if (adds_begin_by_default(pre) && metadata.find(kAddBegin) == nullptr) {
    metadata.set_bool(kAddBegin, adds_begin(tokenizer.post_processor));
  }
}

}  // namespace qwodel
