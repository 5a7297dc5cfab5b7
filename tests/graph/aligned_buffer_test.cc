// Buffers of all three kinds: of the allocator, of small pages, of huge ones.
#include "graph/aligned_buffer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>

namespace qwodel {
namespace {

TEST(AlignedBuffers, AreAlignedAndWritableToTheirEnds) {
  constexpr std::size_t kMiB = std::size_t{1} << 20;
  for (const std::size_t bytes :
       {std::size_t{2}, kMiB - 2, kMiB, kMiB + 2, 4 * kMiB - 2, 4 * kMiB, 5 * kMiB + 2}) {
    AlignedBuffer<std::uint16_t> buffer(bytes / 2);
    const std::size_t alignment = bytes >= 4 * kMiB ? 2 * kMiB : 64;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % alignment, 0u) << bytes;
    buffer.data()[0] = 3;
    buffer.data()[bytes / 2 - 1] = 5;
    const AlignedBuffer<std::uint16_t> moved = std::move(buffer);
    EXPECT_EQ(moved.data()[bytes / 2 - 1], 5);
    EXPECT_EQ(moved.size(), bytes / 2);
  }
}

TEST(AlignedBuffers, LeaveTheirMemory) {
  AlignedBuffer<float> buffer(1000);
  const void* const at = buffer.data();
  const AlignedMemory memory = buffer.release();
  EXPECT_EQ(memory.data(), at);
  EXPECT_EQ(memory.bytes(), 4000u);
  EXPECT_EQ(buffer.capacity(), 0u);
  EXPECT_EQ(buffer.size(), 0u);
}

TEST(AlignedBuffers, GrowFromOneKindToTheOther) {
  AlignedBuffer<float> buffer;
  EXPECT_EQ(buffer.data(), nullptr);
  for (const std::size_t count : {std::size_t{100}, std::size_t{300'000}, std::size_t{2'000'000}}) {
    buffer.reserve(count);
    buffer.data()[count - 1] = 1;
    EXPECT_GE(buffer.capacity(), count);
  }
  buffer.reserve(10);
  EXPECT_EQ(buffer.size(), 10u);
  EXPECT_EQ(buffer.capacity(), 2'000'000u);
}

}  // namespace
}  // namespace qwodel
