// Uninitialized arrays aligned for vector loads.
#pragma once

#include <cstddef>
#include <utility>

#include "graph/aligned_memory.h"

namespace qwodel {

// Movable, not copyable. Values are not initialized.
template <class T>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t count)
      : AlignedBuffer(AlignedMemory(count * sizeof(T)), count) {}
  // REQUIRES: memory has room for `count` values.
  AlignedBuffer(AlignedMemory memory, std::size_t count)
      : memory_(std::move(memory)), size_(count) {}

  T* data() const { return reinterpret_cast<T*>(memory_.data()); }
  std::size_t size() const { return size_; }
  std::size_t capacity() const { return memory_.bytes() / sizeof(T); }

  // Makes room for `count` values; the old ones are lost when it grows.
  void reserve(std::size_t count) {
    if (count > capacity()) *this = AlignedBuffer(count);
    size_ = count;
  }

  // Leaves the buffer empty.
  AlignedMemory release() {
    size_ = 0;
    return std::exchange(memory_, {});
  }

 private:
  AlignedMemory memory_;
  std::size_t size_ = 0;
};

}  // namespace qwodel
