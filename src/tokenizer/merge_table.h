// Byte-pair encoding proper: which pairs of symbols are joined, in which order, and the joining.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace qwodel {

// The rank of a pair (a lower one is joined first) and the symbol that results.
struct MergeRule {
  std::uint32_t rank = 0, result = 0;
};

// A flat hash table from pairs of symbols.
class MergeTable {
 public:
  void reserve(std::size_t count);

  // Of two rules for one pair the later counts if `replace`, else the earlier.
  void insert(std::uint32_t left, std::uint32_t right, MergeRule rule, bool replace);

  // nullptr for a pair that is not joined.
  const MergeRule* find(std::uint32_t left, std::uint32_t right) const {
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_[slot_of(key_of(left, right))];
    return slot.key == kFree ? nullptr : &slot.rule;
  }

 private:
  struct Slot {
    std::uint64_t key = kFree;
    MergeRule rule;
  };
  // No pair: the largest symbol is never joined.
  static constexpr std::uint64_t kFree = ~std::uint64_t{0};

  static std::uint64_t key_of(std::uint32_t left, std::uint32_t right) {
    return std::uint64_t{left} << 32 | right;
  }
  std::size_t slot_of(std::uint64_t key) const {
    // Fibonacci hashing: the high bits of the product depend on all bits of the key.
    std::size_t at = static_cast<std::size_t>((key * 0x9E3779B97F4A7C15u) >> shift_);
    const std::size_t mask = slots_.size() - 1;
    while (slots_[at].key != key && slots_[at].key != kFree) at = (at + 1) & mask;
    return at;
  }

  std::vector<Slot> slots_;  // a power of two; at most half are taken
  int shift_ = 63;
  std::size_t count_ = 0;
};

// Working memory of merge_symbols(), to be reused.
struct MergeScratch {
  struct Candidate {
    std::uint32_t rank, at, result;
  };
  std::vector<std::uint32_t> ranks, results;  // of the pair that starts at a symbol
  std::vector<std::uint32_t> previous, next;  // neighbours that are left
  std::vector<Candidate> heap;
};

// Joins the pair of lowest rank, the leftmost of equals, until none is left. Time grows as n log n.
// REQUIRES: fewer than 2^32 - 1 symbols.
void merge_symbols(const MergeTable& table, std::vector<std::uint32_t>& symbols,
                   MergeScratch& scratch);

}  // namespace qwodel
