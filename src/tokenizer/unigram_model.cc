#include "tokenizer/unigram_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "qwodel/error.h"
#include "tokenizer/bpe_model.h"

namespace qwodel {
namespace {

constexpr double kUnknownPenalty = 10;
constexpr std::uint32_t kUnreached = 0xFFFFFFFF;

// A number as the Hugging Face library reads it: its digits as an integer, divided by a power of
// ten. The last bit may differ from the nearest number, and equal sums of scores turn on it.
double divided_number(double score) {
  if (score == 0) return score;
  const std::string shortest = fmt::format("{}", score);
  std::uint64_t digits = 0;
  int exponent = 0;
  bool fraction = false;
  for (const char c : shortest) {
    if (c == 'e') return score;  // a file has no such score
    if (c == '.') fraction = true;
    if (c < '0' || c > '9') continue;
    digits = digits * 10 + static_cast<std::uint64_t>(c - '0');
    exponent += fraction;
  }
  const double value = static_cast<double>(digits) / std::pow(10.0, exponent);
  return score < 0 ? -value : value;
}

}  // namespace

void UnigramModel::find_path(std::string_view word,
                             std::vector<EncodeScratch::PathNode>& path) const {
  path.assign(word.size() + 1, {0, kUnreached, kNoToken});
  for (std::size_t start = 0; start < word.size();) {
    const double score = path[start].score;
    const std::size_t next = start + character_size(word.substr(start));
    const auto offer = [&](std::size_t end, double added, std::uint32_t id) {
      auto& target = path[end];
      if (target.start != kUnreached && !(score + added > target.score)) return;
      target = {score + added, static_cast<std::uint32_t>(start), id};
    };
    bool single = false;
    std::uint32_t node = ByteTrie::kRoot;
    for (std::size_t end = start; end < word.size();) {
      node = parts_.trie.step(node, word[end++]);
      if (node == ByteTrie::kNoNode) break;
      const std::uint32_t id = parts_.trie.value(node);
      if (id == kNoToken) continue;
      offer(end, parts_.scores[id], id);
      single = single || end == next;
    }
    if (!single) offer(next, parts_.unknown_score, kNoToken);
    start = next;
  }
}

void UnigramModel::add_unknown(std::string_view part, std::vector<std::uint32_t>& ids) const {
  const auto token = [&](char byte) {
    return parts_.byte_tokens[static_cast<unsigned char>(byte)];
  };
  // The unknown token's own text is that token.
  std::uint32_t node = ByteTrie::kRoot;
  for (std::size_t i = 0; i < part.size() && node != ByteTrie::kNoNode; ++i) {
    node = parts_.trie.step(node, part[i]);
  }
  if (node != ByteTrie::kNoNode && parts_.trie.value(node) != kNoToken) {
    ids.push_back(parts_.trie.value(node));
  } else if (parts_.byte_fallback && std::all_of(part.begin(), part.end(), [&](char byte) {
               return token(byte) != kNoToken;
             })) {
    for (const char byte : part) ids.push_back(token(byte));
  } else if (parts_.unknown) {
    ids.push_back(*parts_.unknown);
  } else {
    throw ValidationError({.where = parts_.source,
                           .found = fmt::format("no token for \"{}\"", part.substr(0, 40)),
                           .expected = "one, or one for the unknown",
                           .remedy = ""});
  }
}

void UnigramModel::encode(std::string_view word, EncodeScratch& scratch,
                          std::vector<std::uint32_t>& ids) const {
  auto& path = scratch.path;
  find_path(word, path);
  // The path backwards: its cuts, then its parts in order.
  auto& starts = scratch.symbols;
  starts.clear();
  const auto is_unknown = [&](const EncodeScratch::PathNode& node) {
    return node.id == kNoToken || node.id == parts_.unknown;
  };
  for (std::size_t end = word.size(); end > 0; end = path[end].start) {
    starts.push_back(static_cast<std::uint32_t>(end));
  }
  std::size_t unknown_from = word.size() + 1;
  for (auto end = starts.rbegin(); end != starts.rend(); ++end) {
    const auto& node = path[*end];
    if (is_unknown(node)) {
      unknown_from = std::min<std::size_t>(unknown_from, node.start);
      continue;
    }
    if (unknown_from < node.start) {
      add_unknown(word.substr(unknown_from, node.start - unknown_from), ids);
    }
    unknown_from = word.size() + 1;
    ids.push_back(node.id);
  }
  if (unknown_from < word.size()) add_unknown(word.substr(unknown_from), ids);
}

void check_trie_text(std::string_view text, const std::string& source) {
  if (text.size() <= kMaxTrieText) return;
  throw ValidationError({.where = source,
                         .found = fmt::format("a token of {} bytes", text.size()),
                         .expected = fmt::format("at most {}", kMaxTrieText),
                         .remedy = ""});
}

UnigramParts unigram_parts_of(const TokenizerJson& tokenizer, const std::string& source) {
  UnigramParts parts;
  parts.source = source;
  parts.unknown = tokenizer.unknown_id;
  parts.byte_fallback = tokenizer.byte_fallback;
  parts.scores.resize(tokenizer.vocabulary.size());
  double least = std::numeric_limits<double>::infinity();
  std::vector<ByteTrie::Entry> entries;
  entries.reserve(tokenizer.vocabulary.size());
  for (const auto& [text, id, number] : tokenizer.vocabulary) {
    check_trie_text(text, source);
    const double score = divided_number(number);
    parts.scores[id] = score;
    least = std::min(least, score);
    if (!text.empty()) entries.push_back({text, id});
    if (const auto byte = byte_of_token(text)) parts.byte_tokens[*byte] = id;
  }
  if (parts.unknown && *parts.unknown >= parts.scores.size()) {
    throw ValidationError({.where = source,
                           .found = fmt::format("unk_id {}", *parts.unknown),
                           .expected = fmt::format("below {}", parts.scores.size()),
                           .remedy = ""});
  }
  parts.unknown_score = least - kUnknownPenalty;
  parts.trie = ByteTrie(std::move(entries));
  return parts;
}

}  // namespace qwodel
