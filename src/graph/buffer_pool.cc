#include "graph/buffer_pool.h"

namespace qwodel {

AlignedMemory BufferPool::take_memory(std::size_t bytes) {
  if (bytes == 0) return {};
  const std::scoped_lock lock(mutex_);
  auto best = free_.end();
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    const bool fits = it->bytes() >= bytes && it->bytes() / 2 <= bytes;
    if (fits && (best == free_.end() || it->bytes() < best->bytes())) best = it;
  }
  if (best == free_.end()) return AlignedMemory(bytes);
  AlignedMemory memory = std::move(*best);
  free_.erase(best);
  return memory;
}

void BufferPool::give_back_memory(AlignedMemory memory) {
  if (memory.bytes() == 0) return;
  const std::scoped_lock lock(mutex_);
  free_.push_back(std::move(memory));
}

void BufferPool::clear() {
  const std::scoped_lock lock(mutex_);
  free_.clear();
}

}  // namespace qwodel
