// The cursor reads what is there and never past the end.
#include "io/byte_cursor.h"

#include <gtest/gtest.h>

#include <array>

#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

constexpr std::array<std::byte, 7> kBytes = {std::byte{1},  std::byte{2}, std::byte{3},
                                             std::byte{4},  std::byte{5}, std::byte{'x'},
                                             std::byte{'y'}};

TEST(ByteCursor, ReadsLittleEndianValuesInOrder) {
  ByteCursor cursor(kBytes, "f");
  EXPECT_EQ(cursor.read<std::uint8_t>("a"), 1);
  EXPECT_EQ(cursor.read<std::uint32_t>("b"), 0x05040302u);
  EXPECT_EQ(cursor.position(), 5u);
  EXPECT_EQ(cursor.remaining(), 2u);
  EXPECT_EQ(cursor.text(2, "c"), "xy");
  EXPECT_EQ(cursor.remaining(), 0u);
  EXPECT_EQ(cursor.take(0, "d").size(), 0u);
}

TEST(ByteCursor, SaysWhatIsMissing) {
  ByteCursor cursor(kBytes, "f");
  cursor.take(3, "a");
  expect_error<ValidationError>([&] { cursor.read<std::uint64_t>("the size"); },
                                "f: found 4 bytes left at offset 3, expected 8 bytes for the size");
  expect_error<ValidationError>([&] { cursor.take(~0ull, "x"); }, "4 bytes left");
  expect_error<ValidationError>([&] { cursor.text(5, "x"); }, "4 bytes left");
  EXPECT_EQ(cursor.position(), 3u);
  EXPECT_EQ(cursor.take(4, "rest").size(), 4u);
}

TEST(ByteCursor, NoBytesAtAll) {
  ByteCursor cursor({}, "f");
  EXPECT_EQ(cursor.remaining(), 0u);
  expect_error<ValidationError>([&] { cursor.read<std::uint8_t>("a"); }, "0 bytes left");
}

}  // namespace
}  // namespace qwodel
