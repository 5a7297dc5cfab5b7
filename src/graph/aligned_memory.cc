#include "graph/aligned_memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

namespace qwodel {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kMapped = std::size_t{1} << 20;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kLarge = 2 * kHugePage;

// Products of large matrices are a twentieth faster with fewer pages to look up. Only a wish.
void use_huge_pages([[maybe_unused]] void* at, [[maybe_unused]] std::size_t bytes) {
#ifdef MADV_HUGEPAGE
  static_cast<void>(madvise(at, bytes, MADV_HUGEPAGE));
#endif
}

}  // namespace

AlignedMemory::AlignedMemory(std::size_t bytes) : data_(allocate(bytes)), bytes_(bytes) {}

void AlignedMemory::Free::operator()(std::byte* pointer) const {
  if (mapped > 0) {
    munmap(pointer, mapped);
  } else {
    std::free(pointer);
  }
}

AlignedMemory::Pointer AlignedMemory::allocate(std::size_t bytes) {
  if (bytes == 0) return {};
  if (bytes >= kMapped) return map(bytes);
  const std::size_t whole = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  Pointer data(static_cast<std::byte*>(std::aligned_alloc(kAlignment, whole)));
  if (data == nullptr) throw std::bad_alloc();
  return data;
}

AlignedMemory::Pointer AlignedMemory::map(std::size_t bytes) {
  const bool is_large = bytes >= kLarge;
  const std::size_t size = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  const std::size_t taken = is_large ? size + kHugePage : bytes;
  void* const begin =
      mmap(nullptr, taken, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (begin == MAP_FAILED) throw std::bad_alloc();
  if (!is_large) return Pointer(static_cast<std::byte*>(begin), Free(taken));
  // What lies before and behind whole huge pages goes back.
  const std::size_t skipped =
      (kHugePage - reinterpret_cast<std::uintptr_t>(begin) % kHugePage) % kHugePage;
  auto* const first = static_cast<std::byte*>(begin) + skipped;
  if (skipped > 0) munmap(begin, skipped);
  munmap(first + size, kHugePage - skipped);
  use_huge_pages(first, size);
  return Pointer(first, Free(size));
}

}  // namespace qwodel
