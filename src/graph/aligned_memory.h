// Uninitialized memory aligned for vector loads.
#pragma once

#include <cstddef>
#include <memory>

namespace qwodel {

// Movable, not copyable. Large pieces are pages of their own, which go back to the system when they
// are freed; the allocator would keep them in pieces.
class AlignedMemory {
 public:
  AlignedMemory() = default;
  // Throws std::bad_alloc.
  explicit AlignedMemory(std::size_t bytes);

  std::byte* data() const { return data_.get(); }
  std::size_t bytes() const { return bytes_; }

 private:
  struct Free {
    Free() : mapped(0) {}
    explicit Free(std::size_t mapping) : mapped(mapping) {}
    void operator()(std::byte* pointer) const;

    std::size_t mapped;  // bytes of a mapping; 0: from the allocator
  };
  using Pointer = std::unique_ptr<std::byte, Free>;

  static Pointer allocate(std::size_t bytes);
  static Pointer map(std::size_t bytes);

  Pointer data_;
  std::size_t bytes_ = 0;
};

}  // namespace qwodel
