#include "tokenizer/gguf_models.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "qwodel/error.h"
#include "tokenizer/bpe_model.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/gguf_pre_tokenizers.h"
#include "tokenizer/unigram_model.h"
#include "tokenizer/utf8.h"

namespace qwodel {
namespace {

constexpr float kUnknownPenalty = 10;

std::vector<std::string> texts_of(const std::vector<GgufToken>& tokens) {
  std::vector<std::string> texts;
  texts.reserve(tokens.size());
  for (const GgufToken& token : tokens) texts.push_back(token.text);
  return texts;
}

// Tokens "<0x0A>"; where there is none, a token that is the byte itself.
void set_byte_tokens(const std::vector<GgufToken>& tokens, BpeParts& parts) {
  for (std::uint32_t id = 0; id < tokens.size(); ++id) {
    const std::string& text = tokens[id].text;
    auto* byte =
        text.size() == 1 ? &parts.byte_symbols[static_cast<unsigned char>(text[0])] : nullptr;
    if (byte != nullptr && *byte == kNoToken) *byte = id;
  }
  for (std::uint32_t id = 0; id < tokens.size(); ++id) {
    if (const auto byte = byte_of_token(tokens[id].text)) parts.byte_symbols[*byte] = id;
  }
}

// Symbols of a vocabulary with merges: tokens, and texts that only merges have.
class MergeReader {
 public:
  MergeReader(const GgufVocabulary& vocabulary, const std::string& source)
      : vocabulary_(vocabulary), pre_(gguf_pre_tokenizer(vocabulary.pre)) {
    parts_.source = source;
    parts_.bytes_are_symbols = !pre_.writes_spaces;
    parts_.raw_bytes = pre_.writes_spaces;
    parts_.first_expanded = static_cast<std::uint32_t>(vocabulary.tokens.size());
    symbols_.reserve(vocabulary.tokens.size());
    for (std::uint32_t id = 0; id < vocabulary.tokens.size(); ++id) {
      symbols_.insert(vocabulary.tokens[id].text, id, true);
    }
  }

  BpeParts read() {
    if (pre_.writes_spaces) set_byte_tokens(vocabulary_.tokens, parts_);
    std::string joined;
    for (std::size_t rank = 0; rank < vocabulary_.merges.size(); ++rank) {
      const auto& [left, right] = vocabulary_.merges[rank];
      joined = left;
      joined += right;
      const std::uint32_t left_symbol = symbol_of(left), right_symbol = symbol_of(right);
      parts_.merges.insert(left_symbol, right_symbol,
                           {static_cast<std::uint32_t>(rank), symbol_of(joined)}, false);
    }
    set_first_symbols();
    set_whole_words();
    return std::move(parts_);
  }

 private:
  std::uint32_t symbol_of(const std::string& text) {
    const std::uint32_t known = symbols_.find(text);
    if (known != kNoToken) return known;
    const auto symbol =
        parts_.first_expanded + static_cast<std::uint32_t>(parts_.expansions.size());
    auto& expansion = parts_.expansions.emplace_back();
    for (const char byte : text) {
      const std::uint32_t id = pre_.writes_spaces
                                   ? parts_.byte_symbols[static_cast<unsigned char>(byte)]
                                   : symbols_.find({&byte, 1});
      if (id < vocabulary_.tokens.size()) expansion.push_back(id);
    }
    symbols_.insert(text, symbol);
    texts_.push_back(text);
    return symbol;
  }

  // What a word is made of before anything is joined.
  void set_first_symbols() {
    if (parts_.bytes_are_symbols) {
      for (unsigned byte = 0; byte < 256; ++byte) {
        std::string character;
        append_utf8(character, byte_character(static_cast<std::uint8_t>(byte)));
        parts_.byte_symbols[byte] = symbol_of(character);
      }
      return;
    }
    const auto add = [&](const std::string& text, std::uint32_t symbol) {
      if (character_size(text) != text.size()) return;
      parts_.characters.insert(CharacterTable::key_of(text), symbol);
    };
    for (std::uint32_t id = 0; id < vocabulary_.tokens.size(); ++id) {
      add(vocabulary_.tokens[id].text, id);
    }
    for (std::size_t i = 0; i < texts_.size(); ++i) {
      add(texts_[i], parts_.first_expanded + static_cast<std::uint32_t>(i));
    }
  }

  void set_whole_words() {
    const bool lines = vocabulary_.pre == "gemma4" || vocabulary_.pre == "granite-embed-multi-311m";
    for (std::uint32_t id = 0; id < vocabulary_.tokens.size(); ++id) {
      const std::string& text = vocabulary_.tokens[id].text;
      if (pre_.ignore_merges && parts_.bytes_are_symbols) {
        std::string bytes;
        append_alphabet_bytes(text, bytes);
        if (to_byte_alphabet(bytes) == text) parts_.whole_words.insert(bytes, id, true);
      } else if (lines && text.find_first_not_of('\n') == std::string::npos) {
        parts_.whole_words.insert(text, id, true);
      }
    }
  }

  const GgufVocabulary& vocabulary_;
  GgufPreTokenizer pre_;
  BpeParts parts_;
  TokenIndex symbols_;
  std::vector<std::string> texts_;  // of the symbols that are no tokens
};

class WpmModel final : public SubwordModel {
 public:
  WpmModel(const GgufVocabulary& vocabulary, const std::string& source)
      : source_(source), unknown_(vocabulary.unknown) {
    std::vector<ByteTrie::Entry> entries;
    for (std::uint32_t id = 0; id < vocabulary.tokens.size(); ++id) {
      check_trie_text(vocabulary.tokens[id].text, source);
      entries.push_back({vocabulary.tokens[id].text, id});
    }
    trie_ = ByteTrie(std::move(entries));
  }

  void encode(std::string_view word, EncodeScratch&,
              std::vector<std::uint32_t>& ids) const override {
    std::string marked = "\u2581";
    marked += word;
    const std::size_t before = ids.size();
    for (std::size_t at = 0; at < marked.size();) {
      std::uint32_t node = ByteTrie::kRoot, longest = kNoToken;
      std::size_t next = at;
      for (std::size_t end = at; end < marked.size();) {
        node = trie_.step(node, marked[end++]);
        if (node == ByteTrie::kNoNode) break;
        if (trie_.value(node) == kNoToken) continue;
        longest = trie_.value(node);
        next = end;
      }
      if (longest == kNoToken) {
        ids.resize(before);
        break;
      }
      ids.push_back(longest);
      at = next;
    }
    if (ids.size() != before) return;
    if (!unknown_) {
      throw ValidationError({.where = source_,
                             .found = fmt::format("no token for \"{}\"", word.substr(0, 40)),
                             .expected = "one, or one for the unknown",
                             .remedy = ""});
    }
    ids.push_back(*unknown_);
  }

 private:
  std::string source_;
  ByteTrie trie_;
  std::optional<std::uint32_t> unknown_;
};

}  // namespace

std::unique_ptr<const SubwordModel> make_spm_model(const GgufVocabulary& vocabulary,
                                                   const std::string& source) {
  BpeParts parts;
  parts.source = source;
  parts.raw_bytes = true;
  set_byte_tokens(vocabulary.tokens, parts);
  std::vector<float> scores;
  scores.reserve(vocabulary.tokens.size());
  for (const GgufToken& token : vocabulary.tokens) scores.push_back(token.score);
  add_all_cuts(texts_of(vocabulary.tokens), ranks_by_score(scores), parts);
  return std::make_unique<BpeModel>(std::move(parts));
}

std::unique_ptr<const SubwordModel> make_merges_model(const GgufVocabulary& vocabulary,
                                                      const std::string& source) {
  return std::make_unique<BpeModel>(MergeReader(vocabulary, source).read());
}

std::unique_ptr<const SubwordModel> make_wpm_model(const GgufVocabulary& vocabulary,
                                                   const std::string& source) {
  return std::make_unique<WpmModel>(vocabulary, source);
}

std::unique_ptr<const SubwordModel> make_ugm_model(const GgufVocabulary& vocabulary,
                                                   const std::string& source) {
  UnigramParts parts;
  parts.source = source;
  parts.unknown = vocabulary.unknown;
  parts.scores.resize(vocabulary.tokens.size());
  float least = std::numeric_limits<float>::max();
  std::vector<ByteTrie::Entry> entries;
  for (std::uint32_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const GgufToken& token = vocabulary.tokens[id];
    if (token.normal) least = std::min(least, token.score);
    if (!token.normal && !token.user_defined && !token.unused) continue;
    check_trie_text(token.text, source);
    parts.scores[id] = token.user_defined ? 0 : static_cast<double>(token.score);
    entries.push_back({token.text, id});
  }
  parts.unknown_score = static_cast<double>(least - kUnknownPenalty);
  parts.trie = ByteTrie(std::move(entries));
  return std::make_unique<UnigramModel>(std::move(parts));
}

}  // namespace qwodel
