#include "tokenizer/byte_trie.h"

#include <algorithm>

namespace qwodel {
namespace {

constexpr std::uint16_t kManyChildren = 10;

}  // namespace

// Breadth first over the sorted texts: a node is a range of them and a depth.
ByteTrie::ByteTrie(std::vector<Entry> entries) {
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.text < b.text; });
  struct Range {
    std::size_t begin, end, depth;
  };
  std::vector<Range> ranges = {{0, entries.size(), 0}};
  nodes_.emplace_back();
  labels_.push_back(0);
  for (std::size_t node = 0; node < ranges.size(); ++node) {
    auto [begin, end, depth] = ranges[node];
    for (; begin < end && entries[begin].text.size() == depth; ++begin) {
      nodes_[node].value = entries[begin].value;
    }
    nodes_[node].first = static_cast<std::uint32_t>(nodes_.size());
    while (begin < end) {
      const auto label = static_cast<unsigned char>(entries[begin].text[depth]);
      std::size_t last = begin;
      while (last < end && static_cast<unsigned char>(entries[last].text[depth]) == label) ++last;
      nodes_.emplace_back();
      labels_.push_back(label);
      ranges.push_back({begin, last, depth + 1});
      ++nodes_[node].count;
      begin = last;
    }
    if (nodes_[node].count < kManyChildren && node != kRoot) continue;
    nodes_[node].table = static_cast<std::uint32_t>(tables_.size());
    auto& table = tables_.emplace_back();
    table.fill(kNoNode);
    for (std::uint32_t i = 0; i < nodes_[node].count; ++i) {
      table[labels_[nodes_[node].first + i]] = nodes_[node].first + i;
    }
  }
}

}  // namespace qwodel
