// What llama.cpp does to texts before and behind its models.
#include "tokenizer/byte_trie.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/gguf_tokenizer.h"
#include "tokenizer/unicode_text.h"

namespace qwodel {
namespace {

constexpr std::string_view kSpace = "\u2581";

// The start of `text` as it is after normalizing, and its size before.
struct Normalized {
  std::string_view text;
  std::size_t consumed;
};

Normalized normalize_prefix(std::string_view text, const Charsmap& charsmap,
                            const ByteTrie& user_defined) {
  // As far as any user-defined token has these bytes, even if it goes on with others.
  std::uint32_t node = ByteTrie::kRoot;
  std::size_t size = 0;
  while (size < text.size()) {
    node = user_defined.step(node, text[size]);
    if (node == ByteTrie::kNoNode) break;
    ++size;
  }
  if (size > 0) return {text.substr(0, size), size};
  if (const auto match = charsmap.longest(text)) return {match->replacement, match->size};
  const CodePoint point = first_code_point(text);
  if (point.size > 0) return {text.substr(0, point.size), point.size};
  return {"\uFFFD", 1};
}

}  // namespace

std::string normalize_ugm(std::string_view text, const GgufVocabulary& vocabulary,
                          const Charsmap& charsmap, const ByteTrie& user_defined) {
  std::string result;
  bool prepended = false, in_word = false;
  const bool merge = vocabulary.remove_extra_whitespaces;
  while (!text.empty()) {
    const Normalized part = normalize_prefix(text, charsmap, user_defined);
    text.remove_prefix(part.consumed);
    for (const char c : part.text) {
      if (c == ' ') {
        in_word = false;
        if (!merge) result += kSpace;
        continue;
      }
      if (!in_word && ((vocabulary.add_space_prefix && !prepended) || merge)) {
        result += kSpace;
        prepended = true;
      }
      in_word = true;
      result += c;
    }
  }
  return result;
}

std::vector<std::string> split_wpm(std::string_view text, const GgufVocabulary& vocabulary) {
  std::vector<std::string> words(1);
  for_each_character(text, [&](char32_t c, std::string_view) {
    // The first of the characters it decomposes into: of a Hangul syllable, too.
    if (vocabulary.strip_accents) c = first_of_decomposition(c);
    if (is_white_space(c)) {
      if (!words.back().empty()) words.emplace_back();
      return;
    }
    if (c == 0 || c == 0xFFFD || is_other(c)) return;
    if (vocabulary.strip_accents && is_mark(c)) return;
    std::string character;
    append_utf8(character, c);
    if (vocabulary.lowercase) character = to_simple_lower_case(c);
    const bool alone =
        is_unicode_punctuation(c) || (c < 0x7F && is_symbol(c)) || is_cjk_ideograph(c);
    if (!alone) {
      words.back() += character;
      return;
    }
    if (!words.back().empty()) words.emplace_back();
    words.back() = character;
    words.emplace_back();
  });
  if (words.back().empty()) words.pop_back();
  return words;
}

std::string without_tokenization_spaces(std::string text) {
  // Each pass rewrites the text and looks at the characters of the former.
  const auto pass = [&](auto visit) {
    std::string result;
    for (std::size_t i = 0; i < text.size(); ++i) visit(i, result);
    text = std::move(result);
  };
  const auto at = [&](std::size_t i) { return i < text.size() ? text[i] : '\0'; };
  pass([&](std::size_t i, std::string& result) {
    const char c = text[i];
    if (i > 0 && text[i - 1] == ' ' && (c == '?' || c == '!' || c == '.' || c == ',')) {
      result.pop_back();
    }
    result += c;
  });
  std::size_t skipped = 0;  // the space behind an apostrophe that stood alone
  pass([&](std::size_t i, std::string& result) {
    if (skipped != 0 && i == skipped) return;
    const bool alone = i > 0 && text[i] == '\'' && text[i - 1] == ' ' && at(i + 1) == ' ' &&
                       (skipped == 0 || i != skipped + 1);
    if (alone) {
      result.pop_back();
      skipped = i + 1;
    }
    result += text[i];
  });
  pass([&](std::size_t i, std::string& result) {
    if (i > 0 && text[i] == '\'' && text[i - 1] == ' ') {
      const char first = at(i + 1), second = at(i + 2);
      const bool contraction =
          first == 's' || first == 'm' || ((first == 'r' || first == 'v') && second == 'e');
      if (contraction) result.pop_back();
    }
    result += text[i];
  });
  return text;
}

}  // namespace qwodel
