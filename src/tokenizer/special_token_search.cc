#include "tokenizer/special_token_search.h"

#include <algorithm>
#include <map>

#include "tokenizer/unigram_model.h"

namespace qwodel {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// A token that may stand at `at`: the longest that fits before `limit`.
struct Candidate {
  std::size_t size = 0, at = 0;
  std::uint32_t id = kNoToken;
};

Candidate longest_at(const ByteTrie& trie, std::string_view text, std::size_t at,
                     std::size_t limit) {
  Candidate found;
  found.at = at;
  std::uint32_t node = ByteTrie::kRoot;
  for (std::size_t end = at; end < limit;) {
    node = trie.step(node, text[end++]);
    if (node == ByteTrie::kNoNode) break;
    if (trie.value(node) == kNoToken) continue;
    found.size = end - at;
    found.id = trie.value(node);
  }
  return found;
}

bool comes_later(const Candidate& a, const Candidate& b) {
  return a.size != b.size ? a.size < b.size : a.at > b.at;
}

// Takes candidates in order; each covers a part of the text that no later one may touch.
class Placement {
 public:
  Placement(const ByteTrie& trie, std::string_view text, const std::vector<GgufToken>& tokens)
      : trie_(trie), text_(text), tokens_(tokens) {}

  void run() {
    std::vector<Candidate> heap;
    for (std::size_t at = 0; at < text_.size(); ++at) {
      const Candidate candidate = longest_at(trie_, text_, at, text_.size());
      if (candidate.id != kNoToken) heap.push_back(candidate);
    }
    std::make_heap(heap.begin(), heap.end(), comes_later);
    while (!heap.empty()) {
      std::pop_heap(heap.begin(), heap.end(), comes_later);
      const Candidate candidate = heap.back();
      heap.pop_back();
      const auto [begin, end] = gap_of(candidate.at);
      if (begin == end) continue;  // covered
      if (candidate.at + candidate.size <= end) {
        place(candidate, begin, end);
        continue;
      }
      const Candidate shorter = longest_at(trie_, text_, candidate.at, end);
      if (shorter.id == kNoToken) continue;
      heap.push_back(shorter);
      std::push_heap(heap.begin(), heap.end(), comes_later);
    }
  }

  std::vector<SpecialTokenSearch::Part> parts() const {
    std::vector<SpecialTokenSearch::Part> result;
    std::size_t done = 0;
    for (const auto& [begin, part] : covered_) {
      if (begin > done) result.push_back({{done, begin}, kNoToken});
      result.push_back(part);
      done = part.range.end;
    }
    if (done < text_.size()) result.push_back({{done, text_.size()}, kNoToken});
    return result;
  }

 private:
  // The free part of the text around `at`; empty when it is covered.
  TextRange gap_of(std::size_t at) const {
    const auto after = covered_.upper_bound(at);
    std::size_t begin = 0;
    if (after != covered_.begin()) {
      const TextRange& before = std::prev(after)->second.range;
      if (before.end > at) return {at, at};
      begin = before.end;
    }
    return {begin, after == covered_.end() ? text_.size() : after->first};
  }

  void place(const Candidate& candidate, std::size_t begin, std::size_t end) {
    TextRange range = {candidate.at, candidate.at + candidate.size};
    const GgufToken& token = tokens_[candidate.id];
    while (token.lstrip && range.begin > begin && is_space(text_[range.begin - 1])) --range.begin;
    while (token.rstrip && range.end < end && is_space(text_[range.end])) ++range.end;
    covered_.emplace(range.begin, SpecialTokenSearch::Part{range, candidate.id});
  }

  const ByteTrie& trie_;
  std::string_view text_;
  const std::vector<GgufToken>& tokens_;
  std::map<std::size_t, SpecialTokenSearch::Part> covered_;
};

}  // namespace

SpecialTokenSearch::SpecialTokenSearch(const std::vector<GgufToken>& tokens,
                                       const std::string& source)
    : tokens_(tokens) {
  std::vector<ByteTrie::Entry> all, user_defined;
  for (std::uint32_t id = 0; id < tokens.size(); ++id) {
    const GgufToken& token = tokens[id];
    if (!token.control && !token.user_defined && !token.unknown) continue;
    check_trie_text(token.text, source);
    all.push_back({token.text, id});
    if (!token.control && !token.unknown) user_defined.push_back({token.text, id});
  }
  all_ = ByteTrie(std::move(all));
  user_defined_ = ByteTrie(std::move(user_defined));
}

std::vector<SpecialTokenSearch::Part> SpecialTokenSearch::split(std::string_view text,
                                                                bool special) const {
  Placement placement(special ? all_ : user_defined_, text, tokens_);
  placement.run();
  return placement.parts();
}

}  // namespace qwodel
