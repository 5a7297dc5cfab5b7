// The alphabet in which byte-level BPE writes bytes: each of the 256 is one printable character.
//
// Reference: GPT-2 (openai/gpt-2, encoder.py): printable Latin-1 characters stand for themselves,
// the other bytes for U+0100 onwards in order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace qwodel {

char32_t byte_character(std::uint8_t byte);

// The byte that a character stands for, or nothing.
std::optional<std::uint8_t> character_byte(char32_t character);

std::string to_byte_alphabet(std::string_view bytes);

// Appends the bytes that a token stands for: those of its characters if all are of the alphabet,
// otherwise its own.
void append_alphabet_bytes(std::string_view token, std::string& bytes);

// What a byte-level decoder shows for a token: its bytes if all characters are of the alphabet,
// otherwise the token itself; invalid UTF-8 becomes U+FFFD.
std::string decode_byte_level(std::string_view token);

}  // namespace qwodel
