#include "tokenizer/unicode_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <new>
#include <vector>

namespace qwodel {
namespace {

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_ascii(char c) { return static_cast<unsigned char>(c) < 0x80; }

// Characters that no normal form changes and that join no neighbour: an ASCII character, as long as
// no mark follows it.
bool is_composed_already(std::string_view part) {
  bool below = true;  // U+0300, where combining marks begin
  for_each_character(part, [&](char32_t c, std::string_view) { below = below && c < 0x300; });
  return below;
}

class Normal {
 public:
  explicit Normal(NormalForm form) : form_(form) {}

  std::string run(std::string_view text) {
    std::string result;
    result.reserve(text.size());
    // An ASCII character begins a part of its own: nothing before it changes with it.
    for (std::size_t at = 0; at < text.size();) {
      std::size_t end = at;
      while (end < text.size() && is_ascii(text[end])) ++end;
      if (end == text.size()) {
        result += text.substr(at);
        break;
      }
      const std::size_t begin = end > at ? end - 1 : end;
      result += text.substr(at, begin - at);
      while (end < text.size() && !is_ascii(text[end])) ++end;
      add(text.substr(begin, end - begin), result);
      at = end;
    }
    return result;
  }

 private:
  void add(std::string_view part, std::string& result) {
    if (form_ == NormalForm::nfc && is_composed_already(part)) {
      result += part;
      return;
    }
    points_.clear();
    for_each_character(part, [&](char32_t c, std::string_view) { decompose(c); });
    reorder();
    if (form_ == NormalForm::nfc || form_ == NormalForm::nfkc) {
      const auto size = utf8proc_normalize_utf32(
          points_.data(), static_cast<utf8proc_ssize_t>(points_.size()),
          static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
      if (size >= 0) points_.resize(static_cast<std::size_t>(size));
    }
    for (const utf8proc_int32_t point : points_) append_utf8(result, static_cast<char32_t>(point));
  }

  void decompose(char32_t c) {
    const bool compatible = form_ == NormalForm::nfkc || form_ == NormalForm::nfkd;
    const int options = UTF8PROC_DECOMPOSE | UTF8PROC_STABLE | (compatible ? UTF8PROC_COMPAT : 0);
    std::array<utf8proc_int32_t, 32> buffer{};  // the longest decomposition has 18
    int last_class = 0;
    const auto count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), buffer.data(), buffer.size(),
                                static_cast<utf8proc_option_t>(options), &last_class);
    if (count < 0 || static_cast<std::size_t>(count) > buffer.size()) {
      points_.push_back(static_cast<utf8proc_int32_t>(c));
    } else {
      points_.insert(points_.end(), buffer.begin(), buffer.begin() + count);
    }
  }

  // Canonical ordering. utf8proc's own takes quadratic time on runs of marks.
  void reorder() {
    const auto marks = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
    for (auto at = points_.begin(); at != points_.end();) {
      if (marks(*at) == 0) {
        ++at;
        continue;
      }
      auto end = at;
      while (end != points_.end() && marks(*end) != 0) ++end;
      std::stable_sort(at, end, [&](auto a, auto b) { return marks(a) < marks(b); });
      at = end;
    }
  }

  NormalForm form_;
  std::vector<utf8proc_int32_t> points_;
};

}  // namespace

std::string to_normal_form(std::string_view text, NormalForm form) {
  if (std::all_of(text.begin(), text.end(), is_ascii)) return std::string(text);
  return Normal(form).run(text);
}

std::string to_lower_case(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for_each_character(text, [&](char32_t c, std::string_view character) {
    if (c < 0x80) {
      result += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    } else if (c == 0x130) {  // the only character with two in lower case
      result += "i\u0307";
    } else {
      const auto lower = static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
      if (lower == c) {
        result += character;
      } else {
        append_utf8(result, lower);
      }
    }
  });
  return result;
}

std::string to_simple_lower_case(char32_t c) {
  std::string result;
  append_utf8(result, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  return result;
}

char32_t first_of_decomposition(char32_t c) {
  std::array<utf8proc_int32_t, 32> buffer{};
  int last_class = 0;
  const auto count = utf8proc_decompose_char(
      static_cast<utf8proc_int32_t>(c), buffer.data(), buffer.size(),
      static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE), &last_class);
  return count > 0 ? static_cast<char32_t>(buffer[0]) : c;
}

bool is_white_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_word_character(char32_t c) {
  if (c == 0x200C || c == 0x200D) return true;
  // Letters in circles and squares are alphabetic without being category L.
  if ((c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
      (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189)) {
    return true;
  }
  switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return false;
  }
}

bool is_mark(char32_t c) {
  const auto kind = category(c);
  return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_MC ||
         kind == UTF8PROC_CATEGORY_ME;
}

bool is_nonspacing_mark(char32_t c) { return category(c) == UTF8PROC_CATEGORY_MN; }

bool is_punctuation(char32_t c) {
  if (c < 0x80) {
    return (c >= 0x21 && c <= 0x2F) || (c >= 0x3A && c <= 0x40) || (c >= 0x5B && c <= 0x60) ||
           (c >= 0x7B && c <= 0x7E);
  }
  return is_unicode_punctuation(c);
}

bool is_unicode_punctuation(char32_t c) {
  const auto kind = category(c);
  return kind >= UTF8PROC_CATEGORY_PC && kind <= UTF8PROC_CATEGORY_PO;
}

bool is_symbol(char32_t c) {
  const auto kind = category(c);
  return kind >= UTF8PROC_CATEGORY_SM && kind <= UTF8PROC_CATEGORY_SO;
}

bool is_other(char32_t c) { return category(c) >= UTF8PROC_CATEGORY_CC; }

// U+2B920 instead of U+2B820 is what the Hugging Face library has.
bool is_cjk_ideograph(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

std::size_t grapheme_end(std::string_view text) {
  CodePoint point = first_code_point(text);
  std::size_t at = point.size != 0 ? point.size : 1;
  utf8proc_int32_t state = 0;
  while (at < text.size()) {
    const CodePoint next = first_code_point(text.substr(at));
    if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(point.value),
                                         static_cast<utf8proc_int32_t>(next.value), &state)) {
      break;
    }
    at += next.size != 0 ? next.size : 1;
    point = next;
  }
  return at;
}

}  // namespace qwodel
