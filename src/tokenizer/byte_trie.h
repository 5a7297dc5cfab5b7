// A trie over the bytes of texts: which of them begin a given text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/token_index.h"

namespace qwodel {

// Texts beyond this length are refused by those who fill a trie: a walk is as long as the longest.
inline constexpr std::size_t kMaxTrieText = 2048;

class ByteTrie {
 public:
  static constexpr std::uint32_t kNoNode = 0xFFFFFFFF;
  static constexpr std::uint32_t kRoot = 0;

  // A text that comes twice keeps its last value. REQUIRES: value is not kNoToken; no text is
  // empty.
  struct Entry {
    std::string_view text;
    std::uint32_t value;
  };
  explicit ByteTrie(std::vector<Entry> entries);
  ByteTrie() : ByteTrie(std::vector<Entry>()) {}

  // The node behind `node` and a byte, or kNoNode.
  std::uint32_t step(std::uint32_t node, char byte) const {
    const auto label = static_cast<unsigned char>(byte);
    const Node& from = nodes_[node];
    if (from.table != kNoNode) return tables_[from.table][label];
    for (std::uint32_t i = from.first; i < from.first + from.count; ++i) {
      if (labels_[i] == label) return i;
    }
    return kNoNode;
  }
  std::uint32_t value(std::uint32_t node) const { return nodes_[node].value; }  // or kNoToken

 private:
  struct Node {
    std::uint32_t first = 0, value = kNoToken, table = kNoNode;
    std::uint16_t count = 0;
  };
  std::vector<Node> nodes_;  // children of a node are neighbours
  std::vector<unsigned char> labels_;
  std::vector<std::array<std::uint32_t, 256>> tables_;  // of nodes with many children
};

}  // namespace qwodel
