// Words that were encoded before and their ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace qwodel {

// Of bounded size: a word takes the place of another one with the same slot, and everything is
// dropped when the texts outgrow their bound. Not thread-safe.
class WordCache {
 public:
  // Longer words are not kept.
  static constexpr std::size_t kMaxWord = 128;

  // Appends the ids of a word that is there. REQUIRES: hash is text_hash(word).
  bool find(std::string_view word, std::uint64_t hash, std::vector<std::uint32_t>& ids) const;

  // Keeps `count` ids. REQUIRES: hash is text_hash(word); word.size() <= kMaxWord.
  void insert(std::string_view word, std::uint64_t hash, const std::uint32_t* first,
              std::size_t count);

 private:
  struct Slot {
    std::uint64_t hash = 0;
    std::uint32_t text = 0, ids = 0;  // where they begin
    std::uint16_t size = 0, count = 0;
  };
  static constexpr std::size_t kSlots = std::size_t{1} << 15;

  std::vector<Slot> slots_;
  std::string texts_;
  std::vector<std::uint32_t> ids_;
};

}  // namespace qwodel
