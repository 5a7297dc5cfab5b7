// UTF-8 text as code points.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace qwodel {

struct CodePoint {
  char32_t value = 0;
  std::size_t size = 0;  // bytes; 0 at invalid UTF-8 or at the end of the text
};

// The code point at the start of `text`. Overlong forms, surrogates and values above U+10FFFF are
// invalid.
CodePoint first_code_point(std::string_view text);

bool is_utf8(std::string_view text);

void append_utf8(std::string& text, char32_t value);

// The text with each maximal invalid part replaced by U+FFFD, as Unicode recommends (and Rust's
// from_utf8_lossy does).
std::string to_valid_utf8(std::string_view bytes);

// All occurrences of `from` replaced.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

}  // namespace qwodel
