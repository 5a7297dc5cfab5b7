#include "tokenizer/tokenizer_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "qwodel/error.h"

namespace qwodel {
namespace {

bool flag(const Json& object, std::string_view key) {
  const Json* value = find_member(object, key);
  return value != nullptr && value->is_boolean() && value->get<bool>();
}

// Ids beyond kMaxTokens are kept as kMaxTokens: they are out of range of every vocabulary, and
// whether that matters is for the reader of the vocabulary to say.
std::uint32_t bounded(std::uint64_t id) {
  return static_cast<std::uint32_t>(std::min(id, kMaxTokens));
}

void sort_by_id(std::vector<AddedToken>& tokens) {
  std::stable_sort(tokens.begin(), tokens.end(),
                   [](const auto& a, const auto& b) { return a.id < b.id; });
}

}  // namespace

bool TokenizerFiles::has(const std::string& name) const {
  return std::filesystem::is_regular_file(directory / name);
}

Json read_optional_object(const std::filesystem::path& path) {
  if (!std::filesystem::is_regular_file(path)) return Json::object();
  Json file = read_json(path);
  if (!file.is_object()) {
    throw ValidationError({.where = path.string(),
                           .found = fmt::format("a JSON {}", file.type_name()),
                           .expected = "an object",
                           .remedy = ""});
  }
  return file;
}

TokenizerFiles read_tokenizer_files(const std::filesystem::path& directory) {
  return {directory, std::nullopt, read_optional_object(directory / "tokenizer_config.json"),
          read_optional_object(directory / "config.json")};
}

std::optional<std::string> token_text(const Json& entry) {
  if (entry.is_string()) return entry.get<std::string>();
  const Json* content = find_member(entry, "content");
  if (content == nullptr || !content->is_string()) return std::nullopt;
  return content->get<std::string>();
}

std::vector<AddedToken> read_added_tokens(const std::filesystem::path& directory) {
  const auto path = directory / "added_tokens.json";
  std::vector<AddedToken> tokens;
  const Json file = read_optional_object(path);
  for (const auto& [text, id] : file.items()) {
    if (!id.is_number_unsigned()) {
      throw ValidationError({.where = path.string(),
                             .found = fmt::format("id {} of token \"{}\"", id.dump(), text),
                             .expected = "a number that is not negative",
                             .remedy = ""});
    }
    tokens.push_back({text, bounded(id.get<std::uint64_t>()), false, false});
  }
  sort_by_id(tokens);
  return tokens;
}

std::vector<AddedToken> parse_added_tokens_decoder(const Json& tokenizer_config,
                                                   const std::string& source) {
  std::vector<AddedToken> tokens;
  const Json* decoder = find_member(tokenizer_config, "added_tokens_decoder");
  if (decoder == nullptr || !decoder->is_object()) return tokens;
  for (const auto& [key, token] : decoder->items()) {
    std::uint64_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    const auto text = token_text(token);
    const bool all = end == key.data() + key.size() && error != std::errc::invalid_argument;
    if (!all || !token.is_object() || !text) {
      throw ValidationError({.where = source,
                             .found = fmt::format("entry \"{}\" of added_tokens_decoder", key),
                             .expected = "an id and an object with \"content\"",
                             .remedy = ""});
    }
    const bool too_large = error == std::errc::result_out_of_range;
    tokens.push_back({*text, bounded(too_large ? kMaxTokens : id), flag(token, "special"),
                      flag(token, "normalized"), flag(token, "single_word"), flag(token, "lstrip"),
                      flag(token, "rstrip")});
  }
  sort_by_id(tokens);
  return tokens;
}

}  // namespace qwodel
