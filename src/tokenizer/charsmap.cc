#include "tokenizer/charsmap.h"

#include <fmt/format.h>

#include <cstring>

#include "qwodel/error.h"
#include "tokenizer/unicode_text.h"

namespace qwodel {
namespace {

constexpr std::size_t kLongGrapheme = 6;  // bytes

std::uint32_t offset_of(std::uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); }
std::uint32_t label_of(std::uint32_t unit) { return unit & 0x800000FF; }
bool has_leaf(std::uint32_t unit) { return (unit & 0x100) != 0; }
std::uint32_t value_of(std::uint32_t unit) { return unit & 0x7FFFFFFF; }

}  // namespace

Charsmap::Charsmap(std::string_view bytes, const std::string& source) {
  if (bytes.empty()) return;
  std::uint32_t size = 0;
  if (bytes.size() >= sizeof size) std::memcpy(&size, bytes.data(), sizeof size);
  if (bytes.size() < sizeof size || size % 4 != 0 || size == 0 ||
      size > bytes.size() - sizeof size) {
    throw ValidationError({.where = source,
                           .found = fmt::format("a character map of {} bytes that says its array "
                                                "has {}",
                                                bytes.size(), size),
                           .expected = "an array that fits",
                           .remedy = ""});
  }
  units_.resize(size / 4);
  std::memcpy(units_.data(), bytes.data() + sizeof size, size);
  replacements_ = bytes.substr(sizeof size + size);
  if (!is_utf8(replacements_)) {
    throw ValidationError({.where = source,
                           .found = "replacements of a character map that are not UTF-8",
                           .expected = "text",
                           .remedy = ""});
  }
}

std::optional<Charsmap::Match> Charsmap::find(std::string_view text, bool first) const {
  std::optional<Match> found;
  if (units_.empty()) return found;
  std::size_t at = offset_of(units_[0]);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    at ^= byte;
    if (byte == 0 || at >= units_.size() || label_of(units_[at]) != byte) break;
    const std::uint32_t unit = units_[at];
    at ^= offset_of(unit);
    if (at >= units_.size()) break;
    if (!has_leaf(unit)) continue;
    const std::size_t begin = value_of(units_[at]);
    // A damaged map: a replacement that is nowhere, or begins inside a character.
    if (begin > replacements_.size()) break;
    const std::string_view rest = std::string_view(replacements_).substr(begin);
    const std::string_view replacement = rest.substr(0, rest.find('\0'));
    if (!is_utf8(replacement)) break;
    found = Match{i + 1, replacement};
    if (first) break;
  }
  return found;
}

std::string Charsmap::normalize_graphemes(std::string_view text) const {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const std::string_view grapheme = text.substr(0, grapheme_end(text));
    text.remove_prefix(grapheme.size());
    if (grapheme.size() < kLongGrapheme) {
      if (const auto match = shortest(grapheme)) {
        result += match->replacement;
        continue;
      }
    }
    for_each_character(grapheme, [&](char32_t, std::string_view character) {
      const auto match = shortest(character);
      result += match ? match->replacement : character;
    });
  }
  return result;
}

}  // namespace qwodel
