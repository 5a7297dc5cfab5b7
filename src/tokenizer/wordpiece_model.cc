#include "tokenizer/wordpiece_model.h"

#include <fmt/format.h>

#include "qwodel/error.h"
#include "tokenizer/unigram_model.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kMaxCharacters = 100;

std::optional<std::uint32_t> unknown_of(const TokenizerJson& tokenizer, const char* fallback) {
  const std::string text = tokenizer.unknown_token.value_or(fallback);
  for (const auto& entry : tokenizer.vocabulary) {
    if (entry.text == text) return entry.id;
  }
  return std::nullopt;
}

[[noreturn]] void refuse(const std::string& source, std::string_view word) {
  throw ValidationError({.where = source,
                         .found = fmt::format("no token for \"{}\"", word.substr(0, 40)),
                         .expected = "one, or one for the unknown",
                         .remedy = ""});
}

std::uint64_t characters_in(std::string_view word) {
  std::uint64_t count = 0;
  for (const char byte : word) count += (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
  return count;
}

}  // namespace

WordPieceModel::WordPieceModel(const TokenizerJson& tokenizer, const std::string& source)
    : source_(source),
      unknown_(unknown_of(tokenizer, "[UNK]")),
      max_characters_(tokenizer.max_word_characters.value_or(kMaxCharacters)) {
  const std::string prefix =
      tokenizer.continuing_subword_prefix.empty() ? "##" : tokenizer.continuing_subword_prefix;
  std::vector<ByteTrie::Entry> starts, continuations;
  for (const auto& entry : tokenizer.vocabulary) {
    const std::string_view text = entry.text;
    check_trie_text(text, source);
    if (!text.empty()) starts.push_back({text, entry.id});
    if (text.starts_with(prefix) && text.size() > prefix.size()) {
      continuations.push_back({text.substr(prefix.size()), entry.id});
    }
  }
  starts_ = ByteTrie(std::move(starts));
  continuations_ = ByteTrie(std::move(continuations));
}

void WordPieceModel::encode(std::string_view word, EncodeScratch&,
                            std::vector<std::uint32_t>& ids) const {
  const std::size_t before = ids.size();
  bool cut = word.size() <= max_characters_ || characters_in(word) <= max_characters_;
  for (std::size_t at = 0; cut && at < word.size();) {
    const ByteTrie& trie = at == 0 ? starts_ : continuations_;
    std::uint32_t node = ByteTrie::kRoot, longest = kNoToken;
    std::size_t next = at;
    for (std::size_t end = at; end < word.size();) {
      node = trie.step(node, word[end++]);
      if (node == ByteTrie::kNoNode) break;
      if (trie.value(node) == kNoToken) continue;
      longest = trie.value(node);
      next = end;
    }
    cut = longest != kNoToken;
    if (cut) ids.push_back(longest);
    at = next;
  }
  if (cut) return;
  if (!unknown_) refuse(source_, word);
  ids.resize(before);
  ids.push_back(*unknown_);
}

WordLevelModel::WordLevelModel(const TokenizerJson& tokenizer, std::string source)
    : source_(std::move(source)), unknown_(unknown_of(tokenizer, "<unk>")) {
  index_.reserve(tokenizer.vocabulary.size());
  for (const auto& entry : tokenizer.vocabulary) index_.insert(entry.text, entry.id);
}

void WordLevelModel::encode(std::string_view word, EncodeScratch&,
                            std::vector<std::uint32_t>& ids) const {
  const std::uint32_t id = index_.find(word);
  if (id == kNoToken && !unknown_) refuse(source_, word);
  ids.push_back(id == kNoToken ? *unknown_ : id);
}

}  // namespace qwodel
