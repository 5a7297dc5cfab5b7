// Texts of tokens to their ids: a flat hash table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace qwodel {

// No id: ids are below kMaxTokens.
inline constexpr std::uint32_t kNoToken = 0xFFFFFFFF;

std::uint64_t text_hash(std::string_view text);

class TokenIndex {
 public:
  void reserve(std::size_t count);

  // A text that is there already keeps its id, unless `replace`.
  void insert(std::string_view text, std::uint32_t id, bool replace = false);

  std::uint32_t find(std::string_view text) const;  // kNoToken when it is not there
  bool contains(std::string_view text) const { return find(text) != kNoToken; }
  bool empty() const { return count_ == 0; }

 private:
  struct Slot {
    std::uint64_t begin = 0;  // in texts_
    std::uint32_t size = 0, hash = 0, id = kNoToken;
  };
  std::size_t slot_of(std::string_view text, std::uint64_t hash) const;

  std::vector<Slot> slots_;  // a power of two; at most half are taken
  std::string texts_;
  std::size_t count_ = 0;
};

}  // namespace qwodel
