#include "tokenizer/bpe_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <unordered_set>

#include "qwodel/error.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/utf8.h"

namespace qwodel {
namespace {

// Symbols of bytes that are never joined.
constexpr std::uint32_t kRawByte = 0xFFFFFE00;

std::size_t spread(std::uint32_t key) {
  return static_cast<std::size_t>((key * std::uint64_t{0x9E3779B97F4A7C15}) >> 32);
}

}  // namespace

std::size_t character_size(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const std::size_t size = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  return std::min(size, text.size());
}

std::optional<std::uint8_t> byte_of_token(std::string_view text, bool any_case) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  unsigned byte = 0;
  for (char digit : text.substr(3, 2)) {
    if (any_case && digit >= 'a' && digit <= 'f') digit = static_cast<char>(digit - 'a' + 'A');
    const bool decimal = digit >= '0' && digit <= '9';
    if (!decimal && (digit < 'A' || digit > 'F')) return std::nullopt;
    byte = byte << 4 | static_cast<unsigned>(decimal ? digit - '0' : digit - 'A' + 10);
  }
  return static_cast<std::uint8_t>(byte);
}

std::uint32_t CharacterTable::key_of(std::string_view character) {
  std::uint32_t key = 0;
  for (const char byte : character) key = key << 8 | static_cast<unsigned char>(byte);
  return key;
}

void CharacterTable::grow() {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> old(
      std::max<std::size_t>(64, slots_.size() * 2));
  old.swap(slots_);
  count_ = 0;
  for (const auto& [key, symbol] : old) {
    if (key != 0) insert(key, symbol);
  }
}

void CharacterTable::insert(std::uint32_t key, std::uint32_t symbol) {
  if (key < ascii_.size()) {
    ascii_[key] = symbol;
    return;
  }
  if (2 * (count_ + 1) > slots_.size()) grow();
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = spread(key) & mask;
  while (slots_[at].first != 0 && slots_[at].first != key) at = (at + 1) & mask;
  if (slots_[at].first == 0) ++count_;
  slots_[at] = {key, symbol};
}

std::uint32_t CharacterTable::find_wide(std::uint32_t key) const {
  if (slots_.empty()) return kNoToken;
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = spread(key) & mask;
  while (slots_[at].first != 0 && slots_[at].first != key) at = (at + 1) & mask;
  return slots_[at].first == 0 ? kNoToken : slots_[at].second;
}

void BpeModel::encode(std::string_view word, EncodeScratch& scratch,
                      std::vector<std::uint32_t>& ids) const {
  if (!parts_.whole_words.empty()) {
    const std::uint32_t id = parts_.whole_words.find(word);
    if (id != kNoToken) {
      ids.push_back(id);
      return;
    }
  }
  auto& symbols = scratch.symbols;
  symbols.clear();
  if (parts_.bytes_are_symbols) {
    add_bytes(word, symbols);
  } else {
    add_characters(word, symbols);
  }
  merge_symbols(parts_.merges, symbols, scratch.merges);
  add_ids(symbols, ids);
}

void BpeModel::add_bytes(std::string_view word, std::vector<std::uint32_t>& symbols) const {
  bool unknown = false;
  for (const char byte : word) {
    const std::uint32_t symbol = parts_.byte_symbols[static_cast<unsigned char>(byte)];
    if (symbol != kNoToken) {
      symbols.push_back(symbol);
    } else if (parts_.unknown && !(unknown && parts_.fuse_unknown)) {
      symbols.push_back(*parts_.unknown);
    }
    unknown = symbol == kNoToken;
  }
}

std::uint32_t BpeModel::marked_symbol(std::string_view character, bool first, bool last) const {
  std::string text = first ? std::string() : parts_.continuing_prefix;
  text += character;
  if (last) text += parts_.word_suffix;
  return parts_.marked.find(text);
}

bool BpeModel::add_fallback(std::string_view character, std::vector<std::uint32_t>& symbols) const {
  if (parts_.raw_bytes) {
    for (const char byte : character) {
      symbols.push_back(kRawByte | static_cast<unsigned char>(byte));
    }
    return true;
  }
  if (!parts_.byte_fallback) return false;
  for (const char byte : character) {
    if (parts_.byte_symbols[static_cast<unsigned char>(byte)] == kNoToken) return false;
  }
  for (const char byte : character) {
    symbols.push_back(parts_.byte_symbols[static_cast<unsigned char>(byte)]);
  }
  return true;
}

// An unknown character waits for the next character that has a symbol, so that its neighbours can
// join it; bytes of a fallback overtake it. That is what the Hugging Face library does.
void BpeModel::add_characters(std::string_view word, std::vector<std::uint32_t>& symbols) const {
  const bool marked = !parts_.marked.empty();
  bool waiting = false;
  for (std::size_t at = 0; at < word.size();) {
    const std::string_view character = word.substr(at, character_size(word.substr(at)));
    const std::size_t end = at + character.size();
    const std::uint32_t symbol = marked ? marked_symbol(character, at == 0, end == word.size())
                                        : parts_.characters.find(CharacterTable::key_of(character));
    at = end;
    if (symbol != kNoToken) {
      if (waiting) symbols.push_back(*parts_.unknown);
      waiting = false;
      symbols.push_back(symbol);
    } else if (!add_fallback(character, symbols) && parts_.unknown) {
      if (waiting && !parts_.fuse_unknown) symbols.push_back(*parts_.unknown);
      waiting = true;
    }
  }
  if (waiting) symbols.push_back(*parts_.unknown);
}

void BpeModel::add_ids(const std::vector<std::uint32_t>& symbols,
                       std::vector<std::uint32_t>& ids) const {
  for (const std::uint32_t symbol : symbols) {
    if (symbol < parts_.first_expanded) {
      ids.push_back(symbol);
    } else if (symbol >= kRawByte) {
      const std::uint32_t id = parts_.byte_symbols[symbol & 0xFF];
      if (id != kNoToken) ids.push_back(id);
    } else {
      const auto& expansion = parts_.expansions[symbol - parts_.first_expanded];
      ids.insert(ids.end(), expansion.begin(), expansion.end());
    }
  }
}

namespace {

// The bytes that a text in the byte alphabet stands for, or nothing.
std::optional<std::string> alphabet_bytes(std::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    const CodePoint point = first_code_point(text);
    const auto byte = point.size != 0 ? character_byte(point.value) : std::nullopt;
    if (!byte) return std::nullopt;
    bytes += static_cast<char>(*byte);
    text.remove_prefix(point.size);
  }
  return bytes;
}

void set_symbols(const TokenizerJson& tokenizer, bool byte_level, BpeParts& parts) {
  const bool marked = !parts.continuing_prefix.empty() || !parts.word_suffix.empty();
  for (const auto& [text, id, score] : tokenizer.vocabulary) {
    if (marked) parts.marked.insert(text, id);
    if (byte_level) {
      const auto bytes = alphabet_bytes(text);
      if (!bytes || bytes->empty()) continue;
      if (bytes->size() == 1) parts.byte_symbols[static_cast<unsigned char>((*bytes)[0])] = id;
      if (tokenizer.ignore_merges) parts.whole_words.insert(*bytes, id);
      continue;
    }
    if (!text.empty() && character_size(text) == text.size()) {
      parts.characters.insert(CharacterTable::key_of(text), id);
    }
    if (tokenizer.ignore_merges) parts.whole_words.insert(text, id);
    if (tokenizer.byte_fallback) {
      if (const auto byte = byte_of_token(text)) parts.byte_symbols[*byte] = id;
    }
  }
}

}  // namespace

BpeParts bpe_parts_of(const TokenizerJson& tokenizer, bool byte_level, const std::string& source) {
  BpeParts parts;
  parts.source = source;
  parts.continuing_prefix = tokenizer.continuing_subword_prefix;
  parts.word_suffix = tokenizer.end_of_word_suffix;
  parts.bytes_are_symbols = byte_level;
  parts.byte_fallback = tokenizer.byte_fallback;
  parts.fuse_unknown = tokenizer.fuse_unknown;
  set_symbols(tokenizer, byte_level, parts);

  TokenIndex ids;
  ids.reserve(tokenizer.vocabulary.size());
  for (const auto& entry : tokenizer.vocabulary) ids.insert(entry.text, entry.id);
  if (tokenizer.unknown_token) {
    const std::uint32_t id = ids.find(*tokenizer.unknown_token);
    if (id != kNoToken) parts.unknown = id;
  }
  parts.merges.reserve(tokenizer.merges.size());
  std::string joined;
  for (std::size_t rank = 0; rank < tokenizer.merges.size(); ++rank) {
    const auto& [left, right] = tokenizer.merges[rank];
    joined = left;
    joined +=
        std::string_view(right).substr(std::min(parts.continuing_prefix.size(), right.size()));
    const std::uint32_t result = ids.find(joined);
    if (result == kNoToken) {
      throw ValidationError({.where = source,
                             .found = fmt::format("merge {} that makes \"{}\"", rank, joined),
                             .expected = "a token of the vocabulary",
                             .remedy = ""});
    }
    parts.merges.insert(ids.find(left), ids.find(right), {static_cast<std::uint32_t>(rank), result},
                        true);
  }
  return parts;
}

BpeParts cut_parts_of(const TokenizerJson& tokenizer, bool byte_level, const std::string& source) {
  BpeParts parts;
  parts.source = source;
  parts.bytes_are_symbols = byte_level;
  parts.byte_fallback = tokenizer.byte_fallback;
  parts.fuse_unknown = tokenizer.fuse_unknown;
  set_symbols(tokenizer, byte_level, parts);

  std::unordered_set<std::string_view> apart;  // tokens that joining does not make
  for (const AddedToken& token : tokenizer.added_tokens) apart.insert(token.text);
  std::vector<std::string> texts(tokenizer.vocabulary.empty() ? 0
                                                              : tokenizer.vocabulary.back().id + 1);
  std::vector<float> scores(texts.size());
  for (const auto& [text, id, score] : tokenizer.vocabulary) {
    if (tokenizer.unknown_token == text) parts.unknown = id;
    scores[id] = static_cast<float>(score);
    const bool is_byte = tokenizer.byte_fallback && byte_of_token(text).has_value();
    if (is_byte || apart.contains(text) || tokenizer.unknown_token == text) continue;
    texts[id] = byte_level ? alphabet_bytes(text).value_or("") : text;
  }
  std::vector<std::uint32_t> ranks(texts.size());
  std::iota(ranks.begin(), ranks.end(), 0U);
  if (tokenizer.merge_order == MergeOrder::scores) ranks = ranks_by_score(scores);
  add_all_cuts(texts, ranks, parts);
  return parts;
}

}  // namespace qwodel
