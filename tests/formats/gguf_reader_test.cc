// Reading GGUF: all value types, both versions, and every way in which a file may be wrong.
#include "formats/gguf_reader.h"

#include <gtest/gtest.h>

#include "tests/formats/gguf_builder.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

GgufFile read(const GgufBuilder& builder) {
  const TempDirectory folder;
  return read_gguf(MappedFile(folder.write("x.gguf", builder.bytes())));
}

template <class E = ValidationError>
void expect_refused(const GgufBuilder& builder, std::string_view part) {
  expect_error<E>([&] { read(builder); }, part);
}

GgufBuilder two_tensors(std::uint64_t first_offset, std::uint64_t second_offset,
                        std::size_t data_bytes) {
  return GgufBuilder()
      .header(2, 0)
      .tensor("a", {8}, 0, first_offset)
      .tensor("b", {4, 2}, 0, second_offset)
      .align()
      .raw(std::string(data_bytes, 'd'));
}

TEST(GgufReader, EveryValueType) {
  GgufBuilder builder;
  builder.header(0, 14)
      .key("u8", 0, std::uint8_t{200})
      .key("i8", 1, std::int8_t{-3})
      .key("u16", 2, std::uint16_t{60000})
      .key("i16", 3, std::int16_t{-300})
      .key("u32", 4, std::uint32_t{4000000000u})
      .key("i32", 5, std::int32_t{-70000})
      .key("f32", 6, 1.5f)
      .key("bool", 7, std::uint8_t{1})
      .key("string", "text")
      .key("u64", 10, std::uint64_t{1} << 63)
      .key("i64", 11, std::int64_t{-5})
      .key("f64", 12, 0.1)
      .text("strings")
      .put(std::uint32_t{9})
      .put(std::uint32_t{8})
      .put(std::uint64_t{2})
      .text("x")
      .text("")
      .text("floats")
      .put(std::uint32_t{9})
      .put(std::uint32_t{6})
      .put(std::uint64_t{1})
      .put(2.5f);
  const GgufFile file = read(builder);
  EXPECT_EQ(file.version, 3u);
  EXPECT_EQ(file.alignment, 32u);
  const GgufMetadata& metadata = file.metadata;
  ASSERT_EQ(metadata.entries().size(), 14u);
  EXPECT_EQ(metadata.entries()[3].first, "i16");
  EXPECT_EQ(*metadata.find("u8"), GgufValue(std::uint8_t{200}));
  EXPECT_EQ(*metadata.find("i8"), GgufValue(std::int8_t{-3}));
  EXPECT_EQ(*metadata.find("u16"), GgufValue(std::uint16_t{60000}));
  EXPECT_EQ(*metadata.find("i16"), GgufValue(std::int16_t{-300}));
  EXPECT_EQ(*metadata.find("u32"), GgufValue(std::uint32_t{4000000000u}));
  EXPECT_EQ(*metadata.find("i32"), GgufValue(std::int32_t{-70000}));
  EXPECT_EQ(*metadata.find("f32"), GgufValue(1.5f));
  EXPECT_EQ(*metadata.find("bool"), GgufValue(GgufBool{true}));
  EXPECT_EQ(*metadata.find("string"), GgufValue(std::string("text")));
  EXPECT_EQ(*metadata.find("u64"), GgufValue(std::uint64_t{1} << 63));
  EXPECT_EQ(*metadata.find("i64"), GgufValue(std::int64_t{-5}));
  EXPECT_EQ(*metadata.find("f64"), GgufValue(0.1));
  EXPECT_EQ(*metadata.find("strings"), GgufValue(GgufArray(std::vector<std::string>{"x", ""})));
  EXPECT_EQ(*metadata.find("floats"), GgufValue(GgufArray(std::vector<float>{2.5f})));
}

TEST(GgufReader, TensorsOfBothVersions) {
  for (const std::uint32_t version : {2u, 3u}) {
    const TempDirectory folder;
    GgufBuilder builder;
    builder.header(2, 1, version)
        .key("general.alignment", 4, std::uint32_t{64})
        .tensor("half", {2, 3}, 1, 64)
        .tensor("blocks", {32, 1, 2}, 2, 0)
        .align(64)
        .raw(std::string(64, 'b'))
        .raw("123456789012");
    const MappedFile mapped(folder.write("x.gguf", builder.bytes()));
    const GgufFile file = read_gguf(mapped);
    EXPECT_EQ(file.version, version);
    ASSERT_EQ(file.tensors.size(), 2u);
    EXPECT_EQ(file.tensors[0].name, "half");
    EXPECT_EQ(file.tensors[0].shape, (std::vector<std::uint64_t>{3, 2}));
    EXPECT_EQ(file.tensors[0].bytes.data(), mapped.bytes().data() + mapped.bytes().size() - 12);
    EXPECT_EQ(file.tensors[1].type, TensorType::q4_0);
    EXPECT_EQ(file.tensors[1].shape, (std::vector<std::uint64_t>{2, 1, 32}));
    EXPECT_EQ(file.tensors[1].bytes.size(), 36u);
  }
}

TEST(GgufReader, EveryTensorType) {
  for (const TensorTypeInfo& type : tensor_types()) {
    if (type.ggml_id < 0) continue;
    const GgufFile file =
        read(GgufBuilder()
                 .header(1, 0)
                 .tensor("t", {type.block_size}, static_cast<std::uint32_t>(type.ggml_id), 0)
                 .align()
                 .raw(std::string(type.block_bytes, 'x')));
    EXPECT_EQ(file.tensors[0].type, type.type);
  }
  for (const std::uint32_t id : {4u, 5u, 31u, 33u, 36u, 99u, 0xFFFFFFFFu}) {
    expect_refused<FormatNotSupportedError>(GgufBuilder().header(1, 0).tensor("t", {32}, id, 0),
                                            "tensor type " + std::to_string(id));
  }
}

TEST(GgufReader, OtherVersionsAndByteOrders) {
  expect_refused<FormatNotSupportedError>(GgufBuilder().header(0, 0, 1), "version 1");
  expect_refused<FormatNotSupportedError>(GgufBuilder().header(0, 0, 4), "version 4");
  expect_refused<FormatNotSupportedError>(GgufBuilder().header(0, 0, 0x03000000), "big-endian");
  expect_refused<FormatNotSupportedError>(GgufBuilder().raw("tjgg").put(std::uint32_t{3}),
                                          "before GGUF");
  expect_refused(GgufBuilder().raw("GGUE").put(std::uint32_t{3}), "magic");
  expect_refused(GgufBuilder().raw("PK\x03\x04 a zip file"), "magic");
}

TEST(GgufReader, TruncatedFiles) {
  GgufBuilder builder;
  builder.header(1, 2)
      .key("a", "text")
      .text("b")
      .put(std::uint32_t{9})
      .put(std::uint32_t{4})
      .put(std::uint64_t{2})
      .put(std::uint64_t{1})
      .tensor("t", {8}, 0, 0)
      .align()
      .raw(std::string(32, 'x'));
  const TempDirectory folder;
  ASSERT_EQ(read(builder).tensors.size(), 1u);
  for (std::size_t size = 0; size < builder.bytes().size(); ++size) {
    const auto path = folder.write("cut.gguf", builder.bytes().substr(0, size));
    EXPECT_THROW(read_gguf(MappedFile(path)), ValidationError) << size;
  }
}

TEST(GgufReader, CountsAreCheckedBeforeMemoryIsTaken) {
  constexpr std::uint64_t kHuge = std::uint64_t{1} << 60;
  expect_refused(GgufBuilder().header(kHuge, 0), "tensors");
  expect_refused(GgufBuilder().header(0, kHuge), "keys");
  expect_refused(GgufBuilder().header(0, 1).put(kHuge).raw("abcdefghij"), "a string of");
  expect_refused(GgufBuilder().header(0, 1).put(std::uint64_t{1000000}).raw("abcdefghij"),
                 "bytes left");
  for (const std::uint32_t element : {0u, 8u, 12u}) {
    for (const std::uint64_t count : {kHuge, std::uint64_t{1} << 29}) {
      expect_refused(GgufBuilder()
                         .header(0, 1)
                         .text("k")
                         .put(std::uint32_t{9})
                         .put(element)
                         .put(count)
                         .raw("12345678"),
                     "an array of");
    }
  }
}

TEST(GgufReader, Keys) {
  expect_refused(GgufBuilder().header(0, 1).key("", 4, std::uint32_t{1}), "empty key");
  expect_refused(
      GgufBuilder().header(0, 2).key("k", 4, std::uint32_t{1}).key("k", 4, std::uint32_t{1}),
      "\"k\" twice");
  expect_refused(GgufBuilder().header(0, 1).key("k", 13, std::uint32_t{1}), "value type 13");
  expect_refused(GgufBuilder()
                     .header(0, 1)
                     .text("k")
                     .put(std::uint32_t{9})
                     .put(std::uint32_t{9})
                     .put(std::uint64_t{1})
                     .put(std::uint64_t{1}),
                 "array of arrays");
  for (const std::uint32_t alignment : {0u, 3u, 48u}) {
    expect_refused(GgufBuilder().header(0, 1).key("general.alignment", 4, alignment), "alignment");
  }
  expect_refused(GgufBuilder().header(0, 1).key("general.alignment", 10, std::uint64_t{32}),
                 "alignment");
}

TEST(GgufReader, TensorInfos) {
  expect_refused(GgufBuilder().header(1, 0).tensor("", {1}, 0, 0), "name of 0");
  expect_refused(GgufBuilder().header(1, 0).tensor(std::string(64, 'n'), {1}, 0, 0), "name of 64");
  EXPECT_EQ(
      read(GgufBuilder().header(1, 0).tensor(std::string(63, 'n'), {1}, 0, 0).align().raw("1234"))
          .tensors.size(),
      1u);
  expect_refused(GgufBuilder().header(1, 0).tensor("t", {1, 1, 1, 1, 1}, 0, 0), "5 dimensions");
  expect_refused(GgufBuilder().header(1, 0).tensor("t", {40}, 2, 0), "multiple of 32");
  expect_refused(GgufBuilder().header(1, 0).tensor("t", {}, 2, 0), "multiple of 32");
  expect_refused(GgufBuilder().header(1, 0).tensor("t", {1ull << 32, 1ull << 32}, 0, 0), "63 bits");
  expect_refused(GgufBuilder().header(1, 0).tensor("t", {~0ull, 2}, 24, 0), "63 bits");
  expect_refused(GgufBuilder().header(1, 0).tensor("t", {1ull << 63}, 24, 0), "63 bits");
  expect_refused(
      GgufBuilder().header(2, 0).tensor("t", {1}, 24, 0).tensor("t", {1}, 24, 32).align().raw("x"),
      "\"t\" twice");
}

TEST(GgufReader, DataLiesInTheFileAndIsNotShared) {
  EXPECT_EQ(read(two_tensors(0, 32, 64)).tensors.size(), 2u);
  EXPECT_EQ(read(two_tensors(32, 0, 64)).tensors.size(), 2u);
  EXPECT_EQ(read(two_tensors(0, 64, 96)).tensors.size(), 2u);
  expect_refused(two_tensors(0, 32, 63), "at most the 63 data bytes");
  expect_refused(two_tensors(0, 0, 64), "overlaps");
  expect_refused(two_tensors(0, 33, 96), "multiple of 32");
  expect_refused(two_tensors(0, ~0ull - 31, 96), "data offset");
  expect_refused(two_tensors(0, 1ull << 62, 96), "data offset");
}

class GgufSplit : public testing::Test {
 protected:
  static std::string shard(std::uint16_t number, std::uint16_t count, std::int32_t tensors) {
    return GgufBuilder()
        .header(1, 4)
        .key("general.name", number == 0 ? "first" : "other")
        .key("split.no", 2, number)
        .key("split.count", 2, count)
        .key("split.tensors.count", 5, tensors)
        .tensor("t" + std::to_string(number), {4}, 24, 0)
        .align()
        .raw("abcd")
        .bytes();
  }

  TempDirectory folder_;
};

TEST_F(GgufSplit, AnyShardOpensTheModel) {
  folder_.write("m-00001-of-00002.gguf", shard(0, 2, 2));
  folder_.write("m-00002-of-00002.gguf", shard(1, 2, 2));
  for (const char* name : {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"}) {
    const GgufModel model = read_gguf_model(folder_ / name);
    EXPECT_EQ(model.files.size(), 2u);
    ASSERT_EQ(model.tensors.size(), 2u);
    EXPECT_EQ(model.tensors[0].name, "t0");
    EXPECT_EQ(model.tensors[1].name, "t1");
    EXPECT_EQ(model.tensors[1].bytes.size(), 4u);
    EXPECT_EQ(model.metadata.find_string("general.name"), "first");
    EXPECT_EQ(model.metadata.entries().size(), 1u);
  }
}

TEST_F(GgufSplit, MissingOrMixedShards) {
  folder_.write("m-00002-of-00002.gguf", shard(1, 2, 2));
  const auto open = [&] { read_gguf_model(folder_ / "m-00002-of-00002.gguf"); };
  expect_error<ValidationError>(open, "m-00001-of-00002.gguf: found no such file");
  folder_.write("m-00001-of-00002.gguf", shard(1, 2, 2));
  expect_error<ValidationError>(open, "shard 2 of 2 by its metadata");
  folder_.write("m-00001-of-00002.gguf", shard(0, 2, 3));
  expect_error<ValidationError>(open, "2 tensors in all shards");
  folder_.write("renamed.gguf", shard(0, 2, 2));
  expect_error<ValidationError>([&] { read_gguf_model(folder_ / "renamed.gguf"); },
                                "-00001-of-00002.gguf");
}

}  // namespace
}  // namespace qwodel
