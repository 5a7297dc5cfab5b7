// Plain tensors read as the numbers they are, from any start, at any alignment.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "sources/weights.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

template <class T>
std::string as_bytes(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

// Stores `bytes` behind a pad of `shift` bytes, reads all values back in pieces.
void expect_values(const std::string& type, const std::string& bytes, std::vector<float> expected,
                   std::size_t shift) {
  const TempDirectory folder;
  folder.write("config.json", "{}");
  std::string header = R"({"pad":{"dtype":"U8","shape":[)" + std::to_string(shift) +
                       R"(],"data_offsets":[0,)" + std::to_string(shift) + R"(]},"t":{"dtype":")" +
                       type + R"(","shape":[)" + std::to_string(expected.size()) +
                       R"(],"data_offsets":[)" + std::to_string(shift) + "," +
                       std::to_string(shift + bytes.size()) + "]}}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  folder.write("model.safetensors", safetensors_bytes(header, std::string(shift, 'p') + bytes));
  const auto checkpoint = open_checkpoint(folder.path());
  const Weights weights(*checkpoint);
  const WeightTensor* tensor = weights.find("t");
  ASSERT_NE(tensor, nullptr);
  EXPECT_FALSE(tensor->is_quantized());
  EXPECT_EQ(tensor->raw().size(), bytes.size());
  for (std::size_t first = 0; first <= expected.size(); ++first) {
    std::vector<float> values(expected.size() - first, -99.0f);
    tensor->read(first, values);
    EXPECT_TRUE(values.empty() || std::memcmp(values.data(), expected.data() + first,
                                              values.size() * sizeof(float)) == 0)
        << type << " from " << first;
    const auto storage = tensor->storage(first, values.size());
    ASSERT_EQ(storage.size(), 1u);
    EXPECT_EQ(storage[0].size(), bytes.size() / expected.size() * values.size());
    if (!values.empty()) {
      EXPECT_EQ(storage[0].data() + storage[0].size(), tensor->raw().data() + bytes.size());
    }
  }
}

class PlainValues : public testing::TestWithParam<std::size_t> {};

TEST_P(PlainValues, AreRead) {
  const std::size_t shift = GetParam();
  expect_values("F32", as_bytes<float>({1.5f, -2.0f, INFINITY}), {1.5f, -2.0f, INFINITY}, shift);
  expect_values("F64", as_bytes<double>({1.0 / 3.0, -1e300}), {1.0f / 3.0f, -INFINITY}, shift);
  expect_values("F16", as_bytes<std::uint16_t>({0x3C00, 0xC000, 0x0001}),
                {1.0f, -2.0f, std::ldexp(1.0f, -24)}, shift);
  expect_values("BF16", as_bytes<std::uint16_t>({0x3F80, 0xC000}), {1.0f, -2.0f}, shift);
  expect_values("F8_E4M3", "\x38\xC0\x01\x7E", {1.0f, -2.0f, std::ldexp(1.0f, -9), 448.0f}, shift);
  expect_values("F8_E5M2", "\x3C\xC0\x7B", {1.0f, -2.0f, 57344.0f}, shift);
  expect_values("I8", "\x80\x7F", {-128.0f, 127.0f}, shift);
  expect_values("U8", "\x80\xFF", {128.0f, 255.0f}, shift);
  expect_values("I16", as_bytes<std::int16_t>({-32768, 7}), {-32768.0f, 7.0f}, shift);
  expect_values("U16", as_bytes<std::uint16_t>({65535, 7}), {65535.0f, 7.0f}, shift);
  expect_values("I32", as_bytes<std::int32_t>({-5, 16777217}), {-5.0f, 16777216.0f}, shift);
  expect_values("U32", as_bytes<std::uint32_t>({4294967295u}), {4294967296.0f}, shift);
  expect_values("I64", as_bytes<std::int64_t>({-5, 1}), {-5.0f, 1.0f}, shift);
  expect_values("U64", as_bytes<std::uint64_t>({5}), {5.0f}, shift);
  expect_values("BOOL", std::string("\x01\x00", 2), {1.0f, 0.0f}, shift);
}

INSTANTIATE_TEST_SUITE_P(AtAlignments, PlainValues, testing::Values(0, 1, 2, 3));

TEST(PlainValues, LongUnalignedHalves) {
  std::vector<std::uint16_t> halves(5001);
  std::vector<float> expected(halves.size());
  for (std::size_t i = 0; i < halves.size(); ++i) {
    halves[i] = static_cast<std::uint16_t>(0x3F80 + i % 64);
    expected[i] = 1.0f + static_cast<float>(i % 64) / 128.0f;
  }
  const TempDirectory folder;
  folder.write("config.json", "{}");
  folder.write("model.safetensors",
               safetensors_bytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                 R"("t":{"dtype":"BF16","shape":[5001],"data_offsets":[1,10003]}})",
                                 std::string("p").append(as_bytes(halves))));
  const auto checkpoint = open_checkpoint(folder.path());
  const Weights weights(*checkpoint);
  std::vector<float> values(halves.size());
  weights.find("t")->read(0, values);
  EXPECT_EQ(values, expected);
}

}  // namespace
}  // namespace qwodel
