// Streams of codes as Core ML's weight files hold them.
#include "codecs/bit_stream.h"

#include <gtest/gtest.h>

namespace qwodel {
namespace {

std::vector<std::byte> bytes(std::initializer_list<int> values) {
  std::vector<std::byte> result;
  for (const int value : values) result.push_back(static_cast<std::byte>(value));
  return result;
}

// The values of Apple's own tests of the format.
TEST(BitStream, KnownStreams) {
  const std::vector<std::uint8_t> threes = {2, 7, 7, 5, 5, 4, 3, 0};
  EXPECT_EQ(pack_bits(threes, 3), bytes({0xFA, 0x5B, 0x0E}));
  const std::vector<std::uint8_t> fours = {0xFF, 3};  // -1 and 3
  EXPECT_EQ(pack_bits(fours, 4), bytes({0x3F}));
}

TEST(BitStream, UnpacksWhatItPacked) {
  for (unsigned bits = 1; bits <= 8; ++bits) {
    for (const std::size_t count : {0u, 1u, 7u, 8u, 9u, 1001u}) {
      std::vector<std::uint8_t> codes(count);
      for (std::size_t i = 0; i < count; ++i) {
        codes[i] = static_cast<std::uint8_t>((i * 37 + 11) & ((1u << bits) - 1));
      }
      const auto packed = pack_bits(codes, bits);
      EXPECT_EQ(packed.size(), (count * bits + 7) / 8);
      EXPECT_EQ(unpack_bits(packed, bits, count), codes) << bits << " " << count;
    }
  }
}

}  // namespace
}  // namespace qwodel
