#include "tokenizer/byte_alphabet.h"

#include <algorithm>
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

}  // namespace

char32_t byte_character(std::uint8_t byte) { return kAlphabet[byte]; }

std::optional<std::uint8_t> character_byte(char32_t character) {
  if (character < 0x100 && stands_for_itself(static_cast<unsigned>(character))) {
    return static_cast<std::uint8_t>(character);
  }
  const auto found = std::find(kAlphabet.begin(), kAlphabet.end(), character);
  if (character < 0x100 || found == kAlphabet.end()) return std::nullopt;
  return static_cast<std::uint8_t>(found - kAlphabet.begin());
}

std::string to_byte_alphabet(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    append_utf8(text, byte_character(static_cast<std::uint8_t>(byte)));
  }
  return text;
}

std::string decode_byte_level(std::string_view token) {
  std::string bytes;
  for (std::string_view rest = token; !rest.empty();) {
    const CodePoint point = first_code_point(rest);
    const auto byte = point.size != 0 ? character_byte(point.value) : std::nullopt;
    if (!byte) return to_valid_utf8(token);
    bytes += static_cast<char>(*byte);
    rest.remove_prefix(point.size);
  }
  return to_valid_utf8(bytes);
}

}  // namespace qwodel
