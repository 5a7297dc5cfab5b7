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

// Movable, not copyable. Values are not initialized.
template <class T>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t count) : size_(count), capacity_(count) {
    if (count == 0) return;
    const bool is_large = count * sizeof(T) >= kLarge;
    const std::size_t alignment = is_large ? kHugePage : kAlignment;
    const std::size_t bytes = (count * sizeof(T) + alignment - 1) / alignment * alignment;
    data_.reset(static_cast<T*>(std::aligned_alloc(alignment, bytes)));
    if (data_ == nullptr) throw std::bad_alloc();
    if (is_large) use_huge_pages(bytes);
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
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;
  static constexpr std::size_t kLarge = 2 * kHugePage;

  // Products of large matrices are a twentieth faster with fewer pages to look up. Only a wish.
  void use_huge_pages([[maybe_unused]] std::size_t bytes) const {
#ifdef MADV_HUGEPAGE
    static_cast<void>(madvise(data_.get(), bytes, MADV_HUGEPAGE));
#endif
  }

  struct Free {
    void operator()(T* pointer) const { std::free(pointer); }
  };
  std::unique_ptr<T, Free> data_;
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
