// Uninitialized arrays aligned for vector loads, and a pool that hands freed ones out again: fresh
// pages cost more than the arithmetic on them.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace qwodel {

// Movable, not copyable. Values are not initialized. Large ones are pages of their own, which go
// back to the system when they are freed; the allocator would keep them in pieces.
template <class T>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t count) : size_(count), capacity_(count) {
    const std::size_t bytes = count * sizeof(T);
    if (bytes >= kMapped) {
      data_ = map(bytes);
    } else if (bytes > 0) {
      const std::size_t whole = (bytes + kAlignment - 1) / kAlignment * kAlignment;
      data_ = {static_cast<T*>(std::aligned_alloc(kAlignment, whole)), {}};
      if (data_ == nullptr) throw std::bad_alloc();
    }
  }

  T* data() const { return data_.get(); }
  std::size_t size() const { return size_; }
  std::size_t capacity() const { return capacity_; }

  // Makes room for `count` values; the old ones are lost when it grows.
  void reserve(std::size_t count) {
    if (count > capacity_) *this = AlignedBuffer(count);
    size_ = count;
  }

 private:
  static constexpr std::size_t kAlignment = 64;
  static constexpr std::size_t kMapped = std::size_t{1} << 20;
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;
  static constexpr std::size_t kLarge = 2 * kHugePage;

  struct Free {
    std::size_t mapped = 0;  // bytes of a mapping
    void operator()(T* pointer) const {
      if (mapped > 0) {
        munmap(pointer, mapped);
      } else {
        std::free(pointer);
      }
    }
  };
  using Memory = std::unique_ptr<T, Free>;

  static Memory map(std::size_t bytes) {
    const bool is_large = bytes >= kLarge;
    const std::size_t size = (bytes + kHugePage - 1) / kHugePage * kHugePage;
    const std::size_t taken = is_large ? size + kHugePage : bytes;
    void* const begin =
        mmap(nullptr, taken, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (begin == MAP_FAILED) throw std::bad_alloc();
    if (!is_large) return {static_cast<T*>(begin), {taken}};
    // What lies before and behind whole huge pages goes back.
    const std::size_t skipped =
        (kHugePage - reinterpret_cast<std::uintptr_t>(begin) % kHugePage) % kHugePage;
    auto* const first = static_cast<std::byte*>(begin) + skipped;
    if (skipped > 0) munmap(begin, skipped);
    munmap(first + size, kHugePage - skipped);
    use_huge_pages(first, size);
    return {reinterpret_cast<T*>(first), {size}};
  }

  // Products of large matrices are a twentieth faster with fewer pages to look up. Only a wish.
  static void use_huge_pages([[maybe_unused]] void* at, [[maybe_unused]] std::size_t bytes) {
#ifdef MADV_HUGEPAGE
    static_cast<void>(madvise(at, bytes, MADV_HUGEPAGE));
#endif
  }

  Memory data_;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

// Thread-safe.
class BufferPool {
 public:
  // A buffer of at least `count` values: the smallest freed one that is not more than twice as
  // large, else a new one.
  AlignedBuffer<float> take(std::size_t count) {
    const std::scoped_lock lock(mutex_);
    auto best = free_.end();
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      const bool fits = it->capacity() >= count && it->capacity() / 2 <= count;
      if (fits && (best == free_.end() || it->capacity() < best->capacity())) best = it;
    }
    if (best == free_.end()) return AlignedBuffer<float>(count);
    AlignedBuffer<float> buffer = std::move(*best);
    free_.erase(best);
    buffer.reserve(count);
    return buffer;
  }

  void give_back(AlignedBuffer<float> buffer) {
    const std::scoped_lock lock(mutex_);
    if (buffer.capacity() > 0) free_.push_back(std::move(buffer));
  }

  void clear() {
    const std::scoped_lock lock(mutex_);
    free_.clear();
  }

 private:
  std::mutex mutex_;
  std::vector<AlignedBuffer<float>> free_;
};

}  // namespace qwodel
