// Hands freed buffers out again, to values of any type: fresh pages cost more than the arithmetic
// on them.
#pragma once

#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

#include "graph/aligned_buffer.h"

namespace qwodel {

// Thread-safe.
class BufferPool {
 public:
  // A buffer of at least `count` values: the smallest freed one that is not more than twice as
  // large, else a new one.
  template <class T>
  AlignedBuffer<T> take(std::size_t count) {
    return {take_memory(count * sizeof(T)), count};
  }

  template <class T>
  void give_back(AlignedBuffer<T> buffer) {
    give_back_memory(buffer.release());
  }

  // Frees what is not handed out.
  void clear();

 private:
  AlignedMemory take_memory(std::size_t bytes);
  void give_back_memory(AlignedMemory memory);

  std::mutex mutex_;
  std::vector<AlignedMemory> free_;
};

}  // namespace qwodel
