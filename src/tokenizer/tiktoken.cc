#include "tokenizer/tiktoken.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <limits>
#include <unordered_map>
#include <vector>

#include "io/mapped_file.h"
#include "qwodel/error.h"
#include "tokenizer/byte_alphabet.h"

namespace qwodel {
namespace {

constexpr std::size_t kMaxTokenBytes = 4096;

constexpr std::string_view kDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<std::int8_t, 256> make_base64_values() {
  std::array<std::int8_t, 256> values{};
  for (auto& value : values) value = -1;
  for (std::size_t i = 0; i < kDigits.size(); ++i) {
    values[static_cast<unsigned char>(kDigits[i])] = static_cast<std::int8_t>(i);
  }
  return values;
}

constexpr auto kBase64Values = make_base64_values();

using Ranks = std::unordered_map<std::string_view, std::uint32_t>;

// Starts of the parts that remain when the pair of lowest rank below `limit` is joined again and
// again.
std::vector<std::size_t> encode_below(const Ranks& ranks, std::string_view token,
                                      std::uint32_t limit) {
  std::vector<std::size_t> starts(token.size() + 1);
  for (std::size_t i = 0; i < starts.size(); ++i) starts[i] = i;
  while (starts.size() > 3) {
    std::uint32_t least = limit;
    std::size_t at = 0;
    for (std::size_t i = 0; i + 2 < starts.size(); ++i) {
      const auto rank = ranks.find(token.substr(starts[i], starts[i + 2] - starts[i]));
      if (rank == ranks.end() || rank->second >= least) continue;
      least = rank->second;
      at = i + 1;
    }
    if (least == limit) break;
    starts.erase(starts.begin() + static_cast<std::ptrdiff_t>(at));
  }
  return starts;
}

std::vector<std::string> parse_lines(std::string_view text, const std::string& source) {
  std::vector<std::string> tokens;
  const auto refuse = [&](std::string_view line) {
    throw ValidationError(
        {.where = source,
         .found = fmt::format("line {}: {}", tokens.size() + 1, line.substr(0, 60)),
         .expected = fmt::format("base64 and the rank {}", tokens.size()),
         .remedy = ""});
  };
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos || tokens.size() >= kMaxTokens) refuse(line);
    auto bytes = decode_base64(line.substr(0, space));
    std::uint32_t rank = 0;
    const auto [last, error] =
        std::from_chars(line.data() + space + 1, line.data() + line.size(), rank);
    const bool valid = bytes && !bytes->empty() && bytes->size() <= kMaxTokenBytes &&
                       error == std::errc() && last == line.data() + line.size() &&
                       rank == tokens.size();
    if (!valid) refuse(line);
    tokens.push_back(std::move(*bytes));
  }
  return tokens;
}

// Published vocabularies: number of ranks, and the expression of their pre-tokenizer.
struct Published {
  std::size_t size;
  const char* pattern;
};
constexpr const char* kCl100k =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kO200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr Published kPublished[] = {
    {128000, kCl100k},  // Llama 3
    {100256, kCl100k},  // cl100k_base
    {199998, kO200k},   // o200k_base
    {200000, kO200k},   // Llama 4
    {151643, kQwen},    // Qwen
};

Json pre_tokenizer_for(std::size_t size) {
  for (const Published& published : kPublished) {
    if (published.size != size) continue;
    return {{"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Split"},
               {"pattern", {{"Regex", published.pattern}}},
               {"behavior", "Isolated"},
               {"invert", false}},
              {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
  }
  return nullptr;
}

}  // namespace

std::optional<std::string> decode_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::size_t padding = 0;
  while (padding < 2 && text.ends_with('=')) {
    text.remove_suffix(1);
    ++padding;
  }
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 3);
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const int value = kBase64Values[static_cast<unsigned char>(c)];
    if (value < 0) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes += static_cast<char>(bits >> count & 0xFF);
    }
  }
  return bytes;
}

std::string encode_base64(std::string_view bytes) {
  std::string text;
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      bits = bits << 8 | (at + i < bytes.size() ? static_cast<unsigned char>(bytes[at + i]) : 0U);
    }
    for (std::size_t i = 0; i < 4; ++i) {
      text += at + i > bytes.size() ? '=' : kDigits[bits >> (18 - 6 * i) & 0x3F];
    }
  }
  return text;
}

bool looks_like_tiktoken(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()),
                              std::min<std::size_t>(bytes.size(), 2 * kMaxTokenBytes));
  const std::size_t end = std::min(text.find_first_of("\r\n"), text.size());
  const std::string_view line = text.substr(0, end);
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0 || space + 1 == line.size()) return false;
  return decode_base64(line.substr(0, space)).has_value() &&
         line.find_first_not_of("0123456789", space + 1) == std::string_view::npos;
}

TokenizerJson parse_tiktoken(std::string_view text, const std::string& source) {
  const std::vector<std::string> tokens = parse_lines(text, source);
  Ranks ranks;
  ranks.reserve(tokens.size());
  for (const std::string& token : tokens) {
    if (ranks.emplace(token, static_cast<std::uint32_t>(ranks.size())).second) continue;
    throw ValidationError({.where = source,
                           .found = fmt::format("the token of rank {} twice", ranks.size()),
                           .expected = "each token once",
                           .remedy = ""});
  }
  TokenizerJson result;
  result.ignore_merges = true;
  result.merge_order = MergeOrder::ids;
  result.pre_tokenizer = pre_tokenizer_for(tokens.size());
  for (std::uint32_t rank = 0; rank < tokens.size(); ++rank) {
    const std::string& token = tokens[rank];
    result.vocabulary.push_back({to_byte_alphabet(token), rank, 0});
    if (token.size() < 2) continue;
    const auto starts = encode_below(ranks, token, rank);
    // A token that the tokens before it do not lead to in one step has no merge: only ignoring
    // merges gives it.
    if (starts.size() != 3) continue;
    const std::string_view whole = token;
    result.merges.push_back(
        {to_byte_alphabet(whole.substr(0, starts[1])), to_byte_alphabet(whole.substr(starts[1]))});
  }
  if (result.vocabulary.empty()) {
    throw ValidationError(
        {.where = source, .found = "no tokens", .expected = "a line per token", .remedy = ""});
  }
  check_vocabulary(result, source);
  return result;
}

TokenizerJson read_tiktoken(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_tiktoken({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()},
                        path.string());
}

}  // namespace qwodel
