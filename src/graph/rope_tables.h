// Cosines and sines of rotary position embeddings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "graph/graph.h"

namespace qwodel {

// Rows by position; `pairs` columns, already multiplied by the magnitude.
struct RopeTable {
  std::size_t pairs = 0;
  std::size_t positions = 0;
  std::vector<float> cosines;
  std::vector<float> sines;

  const float* cosines_at(std::size_t position) const { return cosines.data() + position * pairs; }
  const float* sines_at(std::size_t position) const { return sines.data() + position * pairs; }
};

// Layers of one model share their tables. Thread-safe.
class RopeTables {
 public:
  // For positions below `length` of a sequence that long.
  std::shared_ptr<const RopeTable> find(const RopeOp& op, std::uint64_t length);

 private:
  struct Key {
    std::vector<float> frequencies;
    float magnitude;
    bool operator==(const Key&) const = default;
  };
  std::mutex mutex_;
  std::list<std::pair<Key, std::shared_ptr<const RopeTable>>> tables_;
};

}  // namespace qwodel
