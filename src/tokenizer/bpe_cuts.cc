// Merges that follow from a vocabulary alone: any two neighbours whose texts together are a token.
#include <algorithm>
#include <functional>

#include "tokenizer/bpe_model.h"

namespace qwodel {
namespace {

class Cutter {
 public:
  Cutter(const std::vector<std::string>& texts, const std::vector<std::uint32_t>& ranks,
         BpeParts& parts)
      : texts_(texts), ranks_(ranks), parts_(parts) {
    std::size_t longest = 0;
    index_.reserve(texts.size());
    for (std::size_t id = 0; id < texts.size(); ++id) {
      if (texts[id].empty()) continue;
      index_.insert(texts[id], static_cast<std::uint32_t>(id), true);
      longest = std::max(longest, texts[id].size());
    }
    sizes_.resize(longest + 1);
    for (const std::string& text : texts) sizes_[text.size()] = true;
    parts_.first_expanded = static_cast<std::uint32_t>(texts.size());
  }

  void run() {
    for (std::size_t id = 0; id < texts_.size(); ++id) {
      const std::string_view text = texts_[id];
      if (text.empty() || index_.find(text) != id) continue;
      std::size_t at = step(text, 0);
      if (at == text.size()) add_single(text, static_cast<std::uint32_t>(id));
      for (; at < text.size(); at += step(text, at)) cut(text, at, static_cast<std::uint32_t>(id));
    }
  }

 private:
  std::size_t step(std::string_view text, std::size_t at) const {
    return parts_.bytes_are_symbols ? 1 : character_size(text.substr(at));
  }

  void add_single(std::string_view text, std::uint32_t id) {
    if (parts_.bytes_are_symbols) {
      parts_.byte_symbols[static_cast<unsigned char>(text[0])] = id;
    } else {
      parts_.characters.insert(CharacterTable::key_of(text), id);
    }
  }

  void cut(std::string_view text, std::size_t at, std::uint32_t id) {
    const std::string_view left = text.substr(0, at), right = text.substr(at);
    if (!may_be_symbol(left) || !may_be_symbol(right)) return;
    const std::uint32_t left_symbol = symbol_of(left);
    if (left_symbol == kNoToken) return;
    const std::uint32_t right_symbol = symbol_of(right);
    if (right_symbol == kNoToken) return;
    parts_.merges.insert(left_symbol, right_symbol, {ranks_[id], id}, false);
  }

  // Spares hashing long texts that no token has the size of.
  bool may_be_symbol(std::string_view text) const {
    return sizes_[text.size()] || step(text, 0) == text.size();
  }

  // A token, or a single character, which then gets a symbol of its own.
  std::uint32_t symbol_of(std::string_view text) {
    const std::uint32_t id = index_.find(text);
    if (id != kNoToken || step(text, 0) != text.size() || parts_.bytes_are_symbols) return id;
    const std::uint32_t key = CharacterTable::key_of(text);
    std::uint32_t symbol = parts_.characters.find(key);
    if (symbol != kNoToken) return symbol;
    symbol = parts_.first_expanded + static_cast<std::uint32_t>(parts_.expansions.size());
    auto& expansion = parts_.expansions.emplace_back();
    for (const char byte : text) {
      const std::uint32_t token = parts_.byte_symbols[static_cast<unsigned char>(byte)];
      if (token != kNoToken) expansion.push_back(token);
    }
    if (expansion.empty() && parts_.unknown) expansion.push_back(*parts_.unknown);
    parts_.characters.insert(key, symbol);
    return symbol;
  }

  const std::vector<std::string>& texts_;
  const std::vector<std::uint32_t>& ranks_;
  BpeParts& parts_;
  TokenIndex index_;
  std::vector<bool> sizes_;
};

}  // namespace

std::vector<std::uint32_t> ranks_by_score(const std::vector<float>& scores) {
  std::vector<float> order = scores;
  std::sort(order.begin(), order.end(), std::greater<>());
  order.erase(std::unique(order.begin(), order.end()), order.end());
  std::vector<std::uint32_t> ranks;
  ranks.reserve(scores.size());
  for (const float score : scores) {
    const auto at = std::lower_bound(order.begin(), order.end(), score, std::greater<>());
    ranks.push_back(static_cast<std::uint32_t>(at - order.begin()));
  }
  return ranks;
}

void add_all_cuts(const std::vector<std::string>& texts, const std::vector<std::uint32_t>& ranks,
                  BpeParts& parts) {
  Cutter(texts, ranks, parts).run();
}

}  // namespace qwodel
