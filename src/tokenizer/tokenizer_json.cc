#include "tokenizer/tokenizer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "io/mapped_file.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

class Parser {
 public:
  explicit Parser(const std::string& source) : source_(source) {}

  TokenizerJson parse(Json& file) const {
    check_object(file);
    TokenizerJson result = parse_model(member(file, "model"));
    parse_surroundings(file, result);
    return result;
  }

  TokenizerJson parse_model(Json& model) const {
    check_object(model);
    TokenizerJson result;
    result.kind = kind_of(model);
    result.vocabulary = parse_vocabulary(member(model, "vocab"), result.kind);
    if (result.kind == TokenModel::bpe) result.merges = parse_merges(model);
    parse_model_options(model, result);
    return result;
  }

  void parse_surroundings(Json& file, TokenizerJson& result) const {
    check_object(file);
    result.added_tokens = parse_added_tokens(file);
    for (const auto& [key, target] : {std::pair{"normalizer", &result.normalizer},
                                      {"pre_tokenizer", &result.pre_tokenizer},
                                      {"post_processor", &result.post_processor},
                                      {"decoder", &result.decoder}}) {
      const auto part = file.find(key);
      if (part == file.end() || part->is_null()) continue;
      if (!part->is_object()) refuse(fmt::format("\"{}\" of another kind", key), "an object");
      *target = std::move(*part);
    }
  }

 private:
  [[noreturn]] void refuse(std::string found, std::string expected) const {
    throw ValidationError({.where = source_,
                           .found = std::move(found),
                           .expected = std::move(expected),
                           .remedy = ""});
  }

  Json& member(Json& object, const char* key) const {
    const auto found = object.find(key);
    if (found == object.end()) refuse(fmt::format("no \"{}\"", key), "a tokenizer.json");
    return *found;
  }
  void check_object(const Json& value) const {
    if (!value.is_object()) refuse(fmt::format("a JSON {}", value.type_name()), "an object");
  }

  // Files of early versions do not name the type.
  TokenModel kind_of(const Json& model) const {
    const Json* type = find_member(model, "type");
    if (type == nullptr || !type->is_string()) {
      if (model.contains("merges")) return TokenModel::bpe;
      const Json* vocab = find_member(model, "vocab");
      if (vocab != nullptr && vocab->is_array()) return TokenModel::unigram;
      return model.contains("continuing_subword_prefix") ? TokenModel::wordpiece
                                                         : TokenModel::wordlevel;
    }
    const auto& name = type->get_ref<const std::string&>();
    if (name == "BPE") return TokenModel::bpe;
    if (name == "Unigram") return TokenModel::unigram;
    if (name == "WordPiece") return TokenModel::wordpiece;
    if (name == "WordLevel") return TokenModel::wordlevel;
    refuse(fmt::format("a model of type \"{}\"", name), "BPE, Unigram, WordPiece or WordLevel");
  }

  std::uint32_t parse_id(const Json& value, std::string_view text) const {
    if (!value.is_number_integer()) {
      refuse(fmt::format("a {} as id of token \"{}\"", value.type_name(), text), "an integer");
    }
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= kMaxTokens) {
      refuse(fmt::format("id {} of token \"{}\"", value.dump(), text),
             fmt::format("0 to {}", kMaxTokens - 1));
    }
    return value.get<std::uint32_t>();
  }

  std::vector<VocabularyEntry> parse_vocabulary(Json& vocab, TokenModel kind) const {
    std::vector<VocabularyEntry> entries;
    entries.reserve(vocab.size());
    if (kind == TokenModel::unigram) {
      if (!vocab.is_array()) refuse("\"vocab\" of another kind", "a list of [token, score]");
      for (Json& pair : vocab) {
        const bool fits =
            pair.is_array() && pair.size() == 2 && pair[0].is_string() && pair[1].is_number();
        if (!fits || !std::isfinite(pair[1].get<float>())) {
          refuse(fmt::format("entry {} of \"vocab\"", entries.size()), "[token, finite score]");
        }
        entries.push_back({std::move(pair[0].get_ref<std::string&>()),
                           static_cast<std::uint32_t>(entries.size()), pair[1].get<double>()});
      }
      return entries;
    }
    if (!vocab.is_object()) refuse("\"vocab\" of another kind", "an object of ids");
    for (const auto& [text, id] : vocab.items()) {
      entries.push_back({text, parse_id(id, text), 0});
    }
    return entries;
  }

  // "left right" or ["left", "right"]; the second form allows spaces in a token.
  std::vector<Merge> parse_merges(Json& model) const {
    const auto merges = model.find("merges");
    std::vector<Merge> result;
    if (merges == model.end() || merges->is_null()) return result;
    if (!merges->is_array()) refuse("\"merges\" of another kind", "a list");
    result.reserve(merges->size());
    for (Json& merge : *merges) {
      if (merge.is_string()) {
        const auto& text = merge.get_ref<const std::string&>();
        const std::size_t space = text.find(' ');
        if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
          result.push_back({text.substr(0, space), text.substr(space + 1)});
          continue;
        }
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
                 merge[1].is_string()) {
        result.push_back({std::move(merge[0].get_ref<std::string&>()),
                          std::move(merge[1].get_ref<std::string&>())});
        continue;
      }
      refuse(fmt::format("merge {}: {}", result.size(), shown(merge)),
             "\"left right\" or [\"left\", \"right\"]");
    }
    return result;
  }

  static std::string shown(const Json& value) {
    return value.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 60);
  }

  void parse_model_options(Json& model, TokenizerJson& result) const {
    if (const Json* unknown = find_member(model, "unk_token"); unknown && unknown->is_string()) {
      result.unknown_token = unknown->get<std::string>();
    }
    if (const Json* id = find_member(model, "unk_id"); id && !id->is_null()) {
      result.unknown_id = parse_id(*id, "unk_id");
    }
    if (const Json* prefix = find_member(model, "continuing_subword_prefix");
        prefix && prefix->is_string()) {
      result.continuing_subword_prefix = prefix->get<std::string>();
    }
    if (const Json* suffix = find_member(model, "end_of_word_suffix");
        suffix && suffix->is_string()) {
      result.end_of_word_suffix = suffix->get<std::string>();
    }
    if (const Json* most = find_member(model, "max_input_chars_per_word");
        most && most->is_number_unsigned()) {
      result.max_word_characters = most->get<std::uint64_t>();
    }
    result.fuse_unknown = flag(model, "fuse_unk");
    result.byte_fallback = flag(model, "byte_fallback");
    result.ignore_merges = flag(model, "ignore_merges");
  }

  static bool flag(const Json& object, std::string_view key) {
    const Json* value = find_member(object, key);
    return value != nullptr && value->is_boolean() && value->get<bool>();
  }

  std::vector<AddedToken> parse_added_tokens(const Json& file) const {
    std::vector<AddedToken> result;
    const Json* tokens = find_member(file, "added_tokens");
    if (tokens == nullptr || tokens->is_null()) return result;
    if (!tokens->is_array()) refuse("\"added_tokens\" of another kind", "a list");
    for (const Json& token : *tokens) {
      const Json* content = find_member(token, "content");
      const Json* id = find_member(token, "id");
      if (content == nullptr || !content->is_string() || id == nullptr) {
        refuse(fmt::format("added token {}: {}", result.size(), shown(token)),
               "an object with \"id\" and \"content\"");
      }
      const auto& text = content->get_ref<const std::string&>();
      result.push_back({text, parse_id(*id, text), flag(token, "special"),
                        flag(token, "normalized"), flag(token, "single_word"),
                        flag(token, "lstrip"), flag(token, "rstrip")});
    }
    return result;
  }

  const std::string& source_;
};

void check_merges(const TokenizerJson& tokenizer, const std::string& source) {
  std::unordered_set<std::string_view> tokens;
  tokens.reserve(tokenizer.vocabulary.size());
  for (const auto& entry : tokenizer.vocabulary) tokens.insert(entry.text);
  const std::string_view prefix = tokenizer.continuing_subword_prefix;
  std::string joined;
  for (std::size_t i = 0; i < tokenizer.merges.size(); ++i) {
    const auto& [left, right] = tokenizer.merges[i];
    std::string_view tail = right;
    if (!prefix.empty() && tail.starts_with(prefix)) tail.remove_prefix(prefix.size());
    joined.assign(left);
    joined += tail;
    for (const std::string_view part :
         {std::string_view(left), std::string_view(right), std::string_view(joined)}) {
      if (tokens.contains(part)) continue;
      throw ValidationError({.where = source,
                             .found = fmt::format("\"{}\" in merge {}", part, i),
                             .expected = "a token of the vocabulary",
                             .remedy = "vocabulary and merges are not of one tokenizer"});
    }
  }
}

}  // namespace

std::uint64_t TokenizerJson::id_end() const {
  std::uint64_t end = vocabulary.empty() ? 0 : std::uint64_t{vocabulary.back().id} + 1;
  for (const auto& token : added_tokens) end = std::max(end, std::uint64_t{token.id} + 1);
  return end;
}

void check_vocabulary(TokenizerJson& tokenizer, const std::string& source) {
  auto& entries = tokenizer.vocabulary;
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.id < b.id; });
  const auto same = std::adjacent_find(entries.begin(), entries.end(),
                                       [](const auto& a, const auto& b) { return a.id == b.id; });
  if (same != entries.end()) {
    throw ValidationError({.where = source,
                           .found = fmt::format("id {} for \"{}\" and \"{}\"", same->id, same->text,
                                                std::next(same)->text),
                           .expected = "one token per id",
                           .remedy = ""});
  }
  check_merges(tokenizer, source);
}

TokenizerJson parse_tokenizer_json(std::string_view text, const std::string& source) {
  Json file = parse_json(text, source);
  TokenizerJson result = Parser(source).parse(file);
  check_vocabulary(result, source);
  return result;
}

TokenizerJson parse_tokenizer_model(Json& model, const std::string& source) {
  return Parser(source).parse_model(model);
}

TokenizerJson read_tokenizer_surroundings(const std::filesystem::path& path) {
  Json file = read_json(path);
  const std::string source = path.string();
  TokenizerJson result;
  Parser(source).parse_surroundings(file, result);
  return result;
}

TokenizerJson read_tokenizer_json(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_tokenizer_json(
      {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, path.string());
}

}  // namespace qwodel
