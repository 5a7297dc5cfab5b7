// What a safetensors file may be, and every way in which it may not.
#include "formats/safetensors.h"

#include <gtest/gtest.h>

#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

std::vector<TensorInfo> read(const std::string& header, const std::string& data) {
  const TempDirectory folder;
  return read_safetensors(
      MappedFile(folder.write("model.safetensors", safetensors_bytes(header, data))));
}

void expect_damaged(const std::string& header, const std::string& data, std::string_view part) {
  expect_error<ValidationError>([&] { read(header, data); }, part);
}

TEST(Safetensors, TensorsAreSortedByNameAndFindTheirBytes) {
  const TempDirectory folder;
  const MappedFile file(folder.write(
      "x.safetensors",
      safetensors_bytes(R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                        R"("__metadata__":{"format":"pt"},)"
                        R"("a":{"dtype":"I16","shape":[1,2],"data_offsets":[2,6]},)"
                        R"("empty":{"dtype":"F32","shape":[0,7],"data_offsets":[2,2]},)"
                        R"("scalar":{"dtype":"BF16","shape":[],"data_offsets":[6,8]}}   )",
                        "xyabcdef")));
  const auto tensors = read_safetensors(file);
  ASSERT_EQ(tensors.size(), 4u);
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[0].type, TensorType::i16);
  EXPECT_EQ(tensors[0].shape, (std::vector<std::uint64_t>{1, 2}));
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(tensors[0].bytes.data()), 4), "abcd");
  EXPECT_EQ(tensors[1].name, "b");
  EXPECT_EQ(tensors[2].name, "empty");
  EXPECT_TRUE(tensors[2].bytes.empty());
  EXPECT_EQ(tensors[3].name, "scalar");
  EXPECT_EQ(element_count(tensors[3].shape), 1u);
}

TEST(Safetensors, EveryElementType) {
  for (const TensorTypeInfo& type : tensor_types()) {
    if (type.safetensors_name.empty()) continue;
    const std::string bytes(type.block_bytes * 3, 'x');
    const auto tensors =
        read("{\"t\":{\"dtype\":\"" + std::string(type.safetensors_name) +
                 "\",\"shape\":[3],\"data_offsets\":[0," + std::to_string(bytes.size()) + "]}}",
             bytes);
    ASSERT_EQ(tensors.size(), 1u);
    EXPECT_EQ(tensors[0].type, type.type);
  }
}

TEST(Safetensors, TypesWithoutDecoderAreNamed) {
  for (const std::string type : {"F4", "F6_E2M3", "F6_E3M2", "F8_E8M0", "C64"}) {
    expect_error<FormatNotSupportedError>(
        [&] {
          read(R"({"t":{"dtype":")" + type + R"(","shape":[2],"data_offsets":[0,2]}})", "xx");
        },
        type);
  }
  expect_damaged(R"({"t":{"dtype":"Q4","shape":[2],"data_offsets":[0,2]}})", "xx", "\"Q4\"");
}

TEST(Safetensors, TruncatedFiles) {
  const std::string whole =
      safetensors_bytes(R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "12345678");
  const TempDirectory folder;
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto path = folder.write("cut.safetensors", whole.substr(0, size));
    EXPECT_THROW(read_safetensors(MappedFile(path)), ValidationError) << size;
  }
}

TEST(Safetensors, OffsetsTileTheDataExactly) {
  const auto two = [](const std::string& a, const std::string& b) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + a +
           R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}";
  };
  EXPECT_EQ(read(two("[4,8]", "[0,4]"), "12345678").size(), 2u);
  expect_damaged(two("[0,4]", "[2,6]"), "123456", "overlap");
  expect_damaged(two("[0,4]", "[0,4]"), "1234", "overlap");
  expect_damaged(two("[0,4]", "[5,9]"), "123456789", "gaps");
  expect_damaged(two("[1,5]", "[5,9]"), "123456789", "gaps");
  expect_damaged(two("[0,4]", "[4,8]"), "1234567", "truncated");
  expect_damaged(two("[0,4]", "[4,8]"), "123456789", "behind the last tensor");
  expect_damaged(two("[4,0]", "[4,8]"), "12345678", "no range");
  expect_damaged(two("[0,4]", "[18446744073709551612,18446744073709551615]"), "1234", "3 bytes");
}

TEST(Safetensors, ShapesFitTheirData) {
  const auto one = [](const std::string& shape) {
    return R"({"t":{"dtype":"F32","data_offsets":[0,8],"shape":)" + shape + "}}";
  };
  EXPECT_EQ(read(one("[2]"), "12345678").size(), 1u);
  expect_damaged(one("[3]"), "12345678", "12 for shape [3]");
  expect_damaged(one("[4294967296,4294967296,2]"), "12345678", "64 bits");
  expect_damaged(one("[9223372036854775807,2]"), "12345678", "64 bits");
  expect_damaged(one("[-2]"), "12345678", "-2");
  expect_damaged(one("[2.0]"), "12345678", "2.0");
  expect_damaged(one("[\"2\"]"), "12345678", "whole numbers");
  expect_damaged(one("2"), "12345678", "shape");
  expect_damaged(one("[1e300]"), "12345678", "whole numbers");
  std::string ones = "[1";
  for (int i = 0; i < 40; ++i) ones += ",1";
  expect_damaged(one(ones + "]"), "12345678", "dimensions");
}

TEST(Safetensors, HeadersThatAreNone) {
  expect_damaged("", "", "JSON object");
  expect_damaged("[]", "", "JSON object");
  expect_damaged("{\"a\":", "", "JSON");
  expect_damaged("{} x", "", "JSON");
  expect_damaged("{\"a\":1}", "", "dtype, shape and data_offsets");
  expect_damaged("{\"a\":{}}", "", "dtype");
  expect_damaged(R"({"a":{"dtype":"U8","shape":[1]}})", "x", "data_offsets");
  expect_damaged(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", "x", "data_offsets");
  expect_damaged(R"({"__metadata__":{"a":1}})", "", "__metadata__");
  expect_damaged(R"({"__metadata__":"a"})", "", "__metadata__");
  expect_damaged(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                 R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                 "x", "twice");
  expect_damaged("{\"a\xff\":{}}", "", "JSON");
}

TEST(Safetensors, HeaderSizeIsCapped) {
  const TempDirectory folder;
  const auto path = folder.write("x.safetensors", std::string(8, '\x7f') + "{}");
  expect_error<ValidationError>([&] { read_safetensors(MappedFile(path)); }, "100000000");
}

}  // namespace
}  // namespace qwodel
