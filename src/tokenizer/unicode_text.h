// Unicode properties and normal forms of UTF-8 text (utf8proc).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace qwodel {

enum class NormalForm : std::uint8_t { nfc, nfd, nfkc, nfkd };

// REQUIRES: text is UTF-8. Time grows as n log n whatever marks the text holds.
std::string to_normal_form(std::string_view text, NormalForm form);

// Each character in lower case, by its own mapping (final sigma is not special).
std::string to_lower_case(std::string_view text);

// The lower case of one character that is one character.
std::string to_simple_lower_case(char32_t c);

// The first character of the canonical decomposition; `c` itself if it has none.
char32_t first_of_decomposition(char32_t c);

bool is_white_space(char32_t c);          // property White_Space
bool is_word_character(char32_t c);       // \w: letters, marks, decimal digits, connectors, joiners
bool is_mark(char32_t c);                 // category M
bool is_nonspacing_mark(char32_t c);      // category Mn
bool is_punctuation(char32_t c);          // category P, or ASCII punctuation
bool is_unicode_punctuation(char32_t c);  // category P
bool is_symbol(char32_t c);               // category S
bool is_other(char32_t c);                // controls, formats, private use; not what is unassigned
bool is_cjk_ideograph(char32_t c);        // what BERT calls Chinese characters

// Calls `visit(char32_t, std::string_view)` with every character. REQUIRES: text is UTF-8.
template <class Visit>
void for_each_character(std::string_view text, Visit visit);

// The end of the first user-perceived character (extended grapheme cluster). REQUIRES: UTF-8.
std::size_t grapheme_end(std::string_view text);

}  // namespace qwodel

#include "tokenizer/utf8.h"

namespace qwodel {

template <class Visit>
void for_each_character(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const CodePoint point = first_code_point(text);
    const std::size_t size = point.size != 0 ? point.size : 1;
    visit(point.value, text.substr(0, size));
    text.remove_prefix(size);
  }
}

}  // namespace qwodel
