// Which freed buffer is handed out again, and when none is.
#include "graph/buffer_pool.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace qwodel {
namespace {

TEST(BufferPools, HandOutTheSmallestThatFits) {
  BufferPool pool;
  auto large = pool.take<float>(1900);
  auto small = pool.take<float>(1000);
  const void* const at_large = large.data();
  const void* const at_small = small.data();
  pool.give_back(std::move(large));
  pool.give_back(std::move(small));
  const auto first = pool.take<float>(950);
  EXPECT_EQ(first.data(), at_small);
  EXPECT_EQ(first.size(), 950u);
  EXPECT_EQ(first.capacity(), 1000u);
  // Half of it is all that may be left unused.
  const auto other = pool.take<float>(949);
  EXPECT_NE(other.data(), at_large);
  const auto second = pool.take<float>(950);
  EXPECT_EQ(second.data(), at_large);
}

TEST(BufferPools, DoNotAskForTheType) {
  BufferPool pool;
  auto single = pool.take<float>(1000);
  const void* const at = single.data();
  pool.give_back(std::move(single));
  const auto half = pool.take<std::uint16_t>(2000);
  EXPECT_EQ(static_cast<const void*>(half.data()), at);
  EXPECT_EQ(half.capacity(), 2000u);
}

TEST(BufferPools, FreeWhatIsNotHandedOut) {
  BufferPool pool;
  pool.give_back(AlignedBuffer<float>());
  EXPECT_EQ(pool.take<float>(0).data(), nullptr);
  auto buffer = pool.take<float>(1000);
  pool.give_back(std::move(buffer));
  pool.clear();
  EXPECT_EQ(pool.take<float>(2000).capacity(), 2000u);
}

}  // namespace
}  // namespace qwodel
