// What a stage runs on at once: the rows of a few whole sequences.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace qwodel {

class KvCache;

// One sequence's rows of a batch. `past` positions came before them (their keys are in the cache).
struct SequenceRows {
  std::size_t first = 0;
  std::size_t count = 0;
  std::uint64_t past = 0;

  std::uint64_t length() const { return past + count; }
};

struct Batch {
  std::span<const std::uint32_t> tokens;  // one per row
  std::vector<SequenceRows> sequences;
  KvCache* cache = nullptr;  // with one sequence only

  std::size_t rows() const { return tokens.size(); }

  // The sequence that a row belongs to.
  const SequenceRows& sequence_of(std::size_t row) const {
    std::size_t low = 0;
    std::size_t high = sequences.size();
    while (high - low > 1) {
      const std::size_t middle = (low + high) / 2;
      (sequences[middle].first <= row ? low : high) = middle;
    }
    return sequences[low];
  }
};

}  // namespace qwodel
