#include "tokenizer/byte_alphabet.h"

#include <array>

#include "tokenizer/utf8.h"

namespace qwodel {
namespace {

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<char32_t, 256> make_alphabet() {
  std::array<char32_t, 256> alphabet{};
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    alphabet[byte] = stands_for_itself(byte) ? byte : next++;
  }
  return alphabet;
}

constexpr auto kAlphabet = make_alphabet();

constexpr auto kBytes = [] {
  std::array<std::int16_t, 0x144> bytes{};  // the alphabet ends at U+0143
  for (auto& byte : bytes) byte = -1;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    bytes[kAlphabet[byte]] = static_cast<std::int16_t>(byte);
  }
  return bytes;
}();

}  // namespace

char32_t byte_character(std::uint8_t byte) { return kAlphabet[byte]; }

std::optional<std::uint8_t> character_byte(char32_t character) {
  if (character >= kBytes.size() || kBytes[character] < 0) return std::nullopt;
  return static_cast<std::uint8_t>(kBytes[character]);
}

std::string to_byte_alphabet(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    append_utf8(text, byte_character(static_cast<std::uint8_t>(byte)));
  }
  return text;
}

void append_alphabet_bytes(std::string_view token, std::string& bytes) {
  const std::size_t before = bytes.size();
  for (std::string_view rest = token; !rest.empty();) {
    const CodePoint point = first_code_point(rest);
    const auto byte = point.size != 0 ? character_byte(point.value) : std::nullopt;
    if (!byte) {
      bytes.resize(before);
      bytes += token;
      return;
    }
    bytes += static_cast<char>(*byte);
    rest.remove_prefix(point.size);
  }
}

std::string decode_byte_level(std::string_view token) {
  std::string bytes;
  append_alphabet_bytes(token, bytes);
  return to_valid_utf8(bytes);
}

}  // namespace qwodel
