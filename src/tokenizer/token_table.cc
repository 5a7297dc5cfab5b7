#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unordered_map>

#include "qwodel/error.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/special_tokens.h"
#include "tokenizer/utf8.h"
#include "tokenizer/vocabulary_parts.h"

namespace qwodel {
namespace {

constexpr std::string_view kRoles[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                       "pad_token", "cls_token", "mask_token"};

// Tokens with a role that a tokenizer class has without being told.
struct ClassDefaults {
  std::string_view tokenizer_class, model_type;
  std::array<std::string_view, 5> tokens;
};
constexpr ClassDefaults kClassDefaults[] = {
    {"GPT2Tokenizer", "gpt2", {"<|endoftext|>"}},
    {"CodeGenTokenizer", "codegen", {"<|endoftext|>"}},
    {"GPTNeoXTokenizer", "gpt_neox", {"<|endoftext|>"}},
    {"Qwen2Tokenizer", "qwen2", {"<|endoftext|>"}},
    {"LlamaTokenizer", "llama", {"<s>", "</s>", "<unk>"}},
    {"RobertaTokenizer", "roberta", {"<s>", "</s>", "<unk>", "<pad>", "<mask>"}},
    {"BertTokenizer", "bert", {"[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"}},
    {"DistilBertTokenizer", "distilbert", {"[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"}},
    {"T5Tokenizer", "t5", {"</s>", "<unk>", "<pad>"}},
};

std::string text_member(const Json& object, std::string_view key) {
  const Json* value = find_member(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

std::vector<std::string> default_special_texts(const TokenizerFiles& files) {
  std::string name = text_member(files.tokenizer_config, "tokenizer_class");
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  const std::string type = text_member(files.model_config, "model_type");
  std::vector<std::string> texts;
  for (const auto& row : kClassDefaults) {
    if (name.empty() ? row.model_type != type : row.tokenizer_class != name) continue;
    for (const std::string_view token : row.tokens) {
      if (!token.empty()) texts.emplace_back(token);
    }
  }
  return texts;
}

// Texts of the tokens with a role, in tokenizer_config.json or special_tokens_map.json.
std::vector<std::string> special_texts(const TokenizerFiles& files) {
  std::vector<std::string> texts = default_special_texts(files);
  const auto add = [&](const Json& entry) {
    if (const auto text = token_text(entry)) texts.push_back(*text);
  };
  const Json map = read_optional_object(files.directory / "special_tokens_map.json");
  for (const Json* object : {&files.tokenizer_config, &map}) {
    for (const std::string_view role : kRoles) {
      if (const Json* entry = find_member(*object, role)) add(*entry);
    }
    for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
      const Json* list = find_member(*object, key);
      if (list == nullptr || !list->is_structured()) continue;
      for (const Json& entry : *list) add(entry);
    }
  }
  return texts;
}

}  // namespace

TokenTable::TokenTable(std::uint64_t size, std::optional<float> score)
    : types(size, TokenType::unused) {
  texts.reserve(size);
  for (std::uint64_t id = 0; id < size; ++id) texts.push_back(fmt::format("[PAD{}]", id));
  if (score) scores.assign(size, *score);
}

void add_table(TokenTable table, GgufMetadata& metadata) {
  std::vector<std::int32_t> types;
  types.reserve(table.types.size());
  for (const TokenType type : table.types) types.push_back(static_cast<std::int32_t>(type));
  metadata.set_array("tokenizer.ggml.tokens", std::move(table.texts));
  if (!table.scores.empty()) {
    metadata.set_array("tokenizer.ggml.scores", std::move(table.scores));
  }
  metadata.set_array("tokenizer.ggml.token_type", std::move(types));
}

bool looks_special(std::string_view text) {
  for (const char* known : {"<pad>", "<mask>", "<2mass>", "[@BOS@]"}) {
    if (text == known) return true;
  }
  return (text.starts_with("<|") && text.ends_with("|>")) ||
         (text.starts_with("<｜") && text.ends_with("｜>")) ||
         (text.starts_with("<unused") && text.ends_with(">"));
}

std::uint64_t table_size(std::uint64_t requested, std::uint64_t id_end, const std::string& source) {
  if (requested > kMaxTokens) {
    throw ValidationError({.where = "config.json",
                           .found = fmt::format("vocab_size {}", requested),
                           .expected = fmt::format("at most {}", kMaxTokens),
                           .remedy = ""});
  }
  if (requested == 0) return id_end;
  if (id_end > requested) {
    throw ValidationError(
        {.where = source,
         .found = fmt::format("token id {}", id_end - 1),
         .expected = fmt::format("ids below config.json's vocab_size {}", requested),
         .remedy = "use the tokenizer files that belong to this checkpoint"});
  }
  return requested;
}

std::vector<AddedToken> added_tokens_of(const TokenizerFiles& files) {
  std::unordered_map<std::string_view, std::uint32_t> ids;
  if (files.tokenizer) {
    ids.reserve(files.tokenizer->vocabulary.size());
    for (const auto& entry : files.tokenizer->vocabulary) ids.emplace(entry.text, entry.id);
  }
  std::vector<AddedToken> result;
  std::unordered_map<std::string, std::size_t> known;
  // A text that is in the vocabulary has its id there, whatever the list of added tokens says.
  const auto add = [&](AddedToken token) {
    if (known.contains(token.text)) return;
    if (const auto id = ids.find(token.text); id != ids.end()) token.id = id->second;
    known.emplace(token.text, result.size());
    result.push_back(std::move(token));
  };
  if (files.tokenizer) {
    for (const AddedToken& token : files.tokenizer->added_tokens) add(token);
  }
  const auto config = (files.directory / "tokenizer_config.json").string();
  for (AddedToken& token : parse_added_tokens_decoder(files.tokenizer_config, config)) {
    add(std::move(token));
  }
  for (AddedToken& token : read_added_tokens(files.directory)) add(std::move(token));
  for (const std::string& text : special_texts(files)) {
    if (const auto entry = known.find(text); entry != known.end()) {
      result[entry->second].special = true;
    } else if (const auto id = ids.find(text); id != ids.end()) {
      add({text, id->second, true, false});
    }
  }
  std::stable_sort(result.begin(), result.end(),
                   [](const auto& a, const auto& b) { return a.id < b.id; });
  return result;
}

namespace {

// The runtime cuts a merge at its first space, so a space inside a token is written as byte-level
// BPE writes it.
void add_merges(const std::vector<Merge>& merges, GgufMetadata& metadata) {
  if (merges.empty()) return;
  std::vector<std::string> lines;
  lines.reserve(merges.size());
  for (const auto& [left, right] : merges) {
    std::string line = left;
    line += ' ';
    line += right;
    if (std::count(line.begin(), line.end(), ' ') > 1) {
      line = replace_all(left, " ", "\u0120") + ' ' + replace_all(right, " ", "\u0120");
    }
    lines.push_back(std::move(line));
  }
  metadata.set_array("tokenizer.ggml.merges", std::move(lines));
}

}  // namespace

void add_surroundings(const VocabularyContext& context, std::uint64_t size, bool with_merges,
                      GgufMetadata& metadata) {
  if (with_merges && context.files.tokenizer) {
    add_merges(context.files.tokenizer->merges, metadata);
  }
  const SpecialTokens special = find_special_tokens(context.files, size);
  add_special_token_ids(special, metadata);
  add_chat_templates(find_chat_templates(context.files), metadata);
  add_normalizer_flags(special, metadata);
}

}  // namespace qwodel
