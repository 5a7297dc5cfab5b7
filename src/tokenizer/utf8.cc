#include "tokenizer/utf8.h"

namespace qwodel {
namespace {

struct Lead {
  std::size_t size;    // bytes of the sequence; 0 when the byte cannot start one
  unsigned low, high;  // range of the second byte: excludes overlong forms and surrogates
  char32_t value;      // bits that the first byte contributes
};

// Unicode 15, table 3-7.
Lead classify(unsigned byte) {
  if (byte < 0x80) return {1, 0, 0, byte};
  if (byte < 0xC2) return {0, 0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF, byte & 0x1F};
  if (byte < 0xF0) {
    const unsigned low = byte == 0xE0 ? 0xA0 : 0x80;
    const unsigned high = byte == 0xED ? 0x9F : 0xBF;
    return {3, low, high, byte & 0x0F};
  }
  if (byte < 0xF5) {
    const unsigned low = byte == 0xF0 ? 0x90 : 0x80;
    const unsigned high = byte == 0xF4 ? 0x8F : 0xBF;
    return {4, low, high, byte & 0x07};
  }
  return {0, 0, 0, 0};
}

unsigned byte_at(std::string_view text, std::size_t at) {
  return static_cast<unsigned char>(text[at]);
}

// Bytes of the longest prefix of `text` that some code point could start with; at least 1.
std::size_t invalid_length(std::string_view text) {
  const Lead lead = classify(byte_at(text, 0));
  if (lead.size < 2) return 1;
  std::size_t length = 1;
  unsigned low = lead.low, high = lead.high;
  while (length < lead.size && length < text.size()) {
    const unsigned byte = byte_at(text, length);
    if (byte < low || byte > high) break;
    low = 0x80, high = 0xBF;
    ++length;
  }
  return length;
}

}  // namespace

CodePoint first_code_point(std::string_view text) {
  if (text.empty()) return {};
  const Lead lead = classify(byte_at(text, 0));
  if (lead.size == 0 || lead.size > text.size()) return {};
  char32_t value = lead.value;
  for (std::size_t i = 1; i < lead.size; ++i) {
    const unsigned byte = byte_at(text, i);
    const bool fits = i == 1 ? byte >= lead.low && byte <= lead.high : (byte & 0xC0) == 0x80;
    if (!fits) return {};
    value = value << 6 | (byte & 0x3F);
  }
  return {value, lead.size};
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const CodePoint point = first_code_point(text);
    if (point.size == 0) return false;
    text.remove_prefix(point.size);
  }
  return true;
}

void append_utf8(std::string& text, char32_t value) {
  const auto put = [&](char32_t byte) { text += static_cast<char>(byte); };
  if (value < 0x80) {
    put(value);
  } else if (value < 0x800) {
    put(0xC0 | value >> 6);
    put(0x80 | (value & 0x3F));
  } else if (value < 0x10000) {
    put(0xE0 | value >> 12);
    put(0x80 | (value >> 6 & 0x3F));
    put(0x80 | (value & 0x3F));
  } else {
    put(0xF0 | value >> 18);
    put(0x80 | (value >> 12 & 0x3F));
    put(0x80 | (value >> 6 & 0x3F));
    put(0x80 | (value & 0x3F));
  }
}

std::string to_valid_utf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const CodePoint point = first_code_point(bytes);
    const std::size_t size = point.size != 0 ? point.size : invalid_length(bytes);
    if (point.size != 0) {
      text += bytes.substr(0, size);
    } else {
      append_utf8(text, 0xFFFD);
    }
    bytes.remove_prefix(size);
  }
  return text;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  for (std::size_t at = 0;;) {
    const std::size_t found = text.find(from, at);
    result += text.substr(at, found - at);
    if (found == std::string_view::npos) return result;
    result += to;
    at = found + from.size();
  }
}

}  // namespace qwodel
