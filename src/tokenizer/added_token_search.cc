#include "tokenizer/added_token_search.h"

#include <fmt/format.h>

#include "qwodel/error.h"
#include "tokenizer/unicode_text.h"

namespace qwodel {
namespace {

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

// The last character before `end`.
CodePoint character_before(std::string_view text, std::size_t end) {
  std::size_t begin = end - 1;
  while (begin > 0 && is_continuation(text[begin])) --begin;
  return first_code_point(text.substr(begin, end - begin));
}

bool touches_word(std::string_view text, const TextRange& range) {
  if (range.begin > 0 && is_word_character(character_before(text, range.begin).value)) return true;
  return range.end < text.size() &&
         is_word_character(first_code_point(text.substr(range.end)).value);
}

// `range` with the white space before it, as far as `least`.
void widen_left(std::string_view text, std::size_t least, TextRange& range) {
  while (range.begin > least) {
    const CodePoint before = character_before(text, range.begin);
    if (before.size == 0 || !is_white_space(before.value)) break;
    range.begin -= before.size;
  }
}

void widen_right(std::string_view text, TextRange& range) {
  while (range.end < text.size()) {
    const CodePoint next = first_code_point(text.substr(range.end));
    if (next.size == 0 || !is_white_space(next.value)) break;
    range.end += next.size;
  }
}

}  // namespace

AddedTokenSearch::AddedTokenSearch(std::vector<Wanted> wanted, const std::string& source)
    : wanted_(std::move(wanted)) {
  std::erase_if(wanted_, [](const Wanted& entry) { return entry.text.empty(); });
  std::vector<ByteTrie::Entry> entries;
  for (std::uint32_t i = 0; i < wanted_.size(); ++i) {
    const std::string& text = wanted_[i].text;
    if (text.size() > kMaxTrieText) {
      throw ValidationError({.where = source,
                             .found = fmt::format("an added token of {} bytes", text.size()),
                             .expected = fmt::format("at most {}", kMaxTrieText),
                             .remedy = ""});
    }
    entries.push_back({text, i});
  }
  trie_ = ByteTrie(std::move(entries));
}

TextRange AddedTokenSearch::longest_at(std::string_view text, std::size_t at,
                                       std::uint32_t& index) const {
  TextRange found = {at, at};
  std::uint32_t node = ByteTrie::kRoot;
  for (std::size_t end = at; end < text.size();) {
    node = trie_.step(node, text[end++]);
    if (node == ByteTrie::kNoNode) break;
    if (trie_.value(node) == kNoToken) continue;
    found.end = end;
    index = trie_.value(node);
  }
  return found;
}

std::vector<AddedTokenSearch::Part> AddedTokenSearch::split(std::string_view text,
                                                            bool special) const {
  std::vector<Part> parts;
  std::size_t done = 0;
  for (std::size_t at = 0; !empty() && at < text.size();) {
    std::uint32_t index = 0;
    const TextRange match = longest_at(text, at, index);
    if (match.end == at) {
      ++at;
      continue;
    }
    at = match.end;
    const AddedToken& token = wanted_[index].token;
    if (token.special && !special) continue;
    if (token.single_word && touches_word(text, match)) continue;
    TextRange range = match;
    if (token.lstrip) widen_left(text, done, range);
    if (token.rstrip) widen_right(text, range);
    if (range.begin > done) parts.push_back({{done, range.begin}, kNoToken});
    parts.push_back({range, token.id});
    // White space that was taken may hold further tokens: the reference finds them once more.
    done = range.end;
  }
  if (done < text.size()) parts.push_back({{done, text.size()}, kNoToken});
  return parts;
}

}  // namespace qwodel
