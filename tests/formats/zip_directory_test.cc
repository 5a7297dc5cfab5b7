// The zip directory: ordinary and Zip64 records, and archives that lie.
#include "formats/zip_directory.h"

#include <gtest/gtest.h>

#include "tests/formats/gguf_builder.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

using Bytes = GgufBuilder;  // puts little-endian fields one after the other

struct Entry {
  std::string name;
  std::string data;
  std::uint16_t method = 0;
  std::uint16_t flags = 0;
  std::string local_name = name;
  std::int64_t size_off = 0;    // added to the size in the directory
  std::int64_t offset_off = 0;  // and to the offset there
};

// Writes an archive; with zip64, sizes, offsets and counts are in the 64-bit fields.
std::string archive(const std::vector<Entry>& entries, bool zip64 = false) {
  Bytes file;
  Bytes directory;
  for (const Entry& entry : entries) {
    const std::uint64_t offset = file.bytes().size() + static_cast<std::uint64_t>(entry.offset_off);
    const std::uint64_t size = entry.data.size() + static_cast<std::uint64_t>(entry.size_off);
    file.raw("PK\x03\x04").put<std::uint16_t>(20).put(entry.flags).put(entry.method);
    file.put<std::uint32_t>(0).put<std::uint32_t>(0);
    file.put(static_cast<std::uint32_t>(size)).put(static_cast<std::uint32_t>(size));
    file.put(static_cast<std::uint16_t>(entry.local_name.size())).put<std::uint16_t>(5);
    file.raw(entry.local_name).raw("extra").raw(entry.data);
    directory.raw("PK\x01\x02").put<std::uint16_t>(20).put<std::uint16_t>(20);
    directory.put(entry.flags).put(entry.method).put<std::uint32_t>(0).put<std::uint32_t>(0);
    const auto small = [&](std::uint64_t value) {
      directory.put(zip64 ? 0xFFFFFFFFu : static_cast<std::uint32_t>(value));
    };
    small(size);
    small(size);
    directory.put(static_cast<std::uint16_t>(entry.name.size()));
    directory.put(static_cast<std::uint16_t>(zip64 ? 34 : 0)).put<std::uint16_t>(3);
    directory.put<std::uint16_t>(0).put<std::uint16_t>(0).put<std::uint32_t>(0);
    small(offset);
    directory.raw(entry.name);
    if (zip64) {
      directory.put<std::uint16_t>(0x7777).put<std::uint16_t>(2).raw("zz");  // another field first
      directory.put<std::uint16_t>(1).put<std::uint16_t>(24).put(size).put(size).put(offset);
    }
    directory.raw("???");
  }
  const std::uint64_t start = file.bytes().size();
  const std::uint64_t bytes = directory.bytes().size();
  file.raw(directory.bytes());
  if (zip64) {
    const std::uint64_t end = file.bytes().size();
    file.raw("PK\x06\x06").put<std::uint64_t>(44).put<std::uint16_t>(45).put<std::uint16_t>(45);
    file.put<std::uint32_t>(0).put<std::uint32_t>(0);
    file.put<std::uint64_t>(entries.size())
        .put<std::uint64_t>(entries.size())
        .put(bytes)
        .put(start);
    file.raw("PK\x06\x07").put<std::uint32_t>(0).put(end).put<std::uint32_t>(1);
  }
  file.raw("PK\x05\x06").put<std::uint16_t>(0).put<std::uint16_t>(0);
  const auto count = static_cast<std::uint16_t>(zip64 ? 0xFFFF : entries.size());
  file.put(count).put(count);
  file.put(zip64 ? 0xFFFFFFFFu : static_cast<std::uint32_t>(bytes));
  file.put(zip64 ? 0xFFFFFFFFu : static_cast<std::uint32_t>(start));
  file.put<std::uint16_t>(7).raw("comment");
  return file.bytes();
}

void expect_entries(const std::string& bytes) {
  const TempDirectory folder;
  const MappedFile file(folder.write("x.zip", bytes));
  const ZipDirectory zip(file);
  ASSERT_EQ(zip.entries().size(), 3u);
  ASSERT_NE(zip.find("b"), nullptr);
  const auto data = zip.find("b")->bytes;
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(data.data()), data.size()), "bytes of b");
  EXPECT_TRUE(zip.find("a/empty")->bytes.empty());
  EXPECT_EQ(zip.find("c"), nullptr);
}

template <class E>
void expect_refused(const std::string& bytes, std::string_view part) {
  const TempDirectory folder;
  const auto path = folder.write("x.zip", bytes);
  expect_error<E>([&] { ZipDirectory(MappedFile(path)); }, part);
}

std::vector<Entry> three() { return {{"b", "bytes of b"}, {"a/empty", ""}, {"z", "zz"}}; }

TEST(ZipDirectory, Entries) {
  expect_entries(archive(three()));
  expect_entries(archive(three(), true));
}

TEST(ZipDirectory, CompressedOrEncrypted) {
  expect_refused<FormatNotSupportedError>(archive({{"a", "xx", 8}}), "compression method 8");
  expect_refused<FormatNotSupportedError>(archive({{"a", "xx", 0, 1}}), "encrypted");
}

TEST(ZipDirectory, EntriesThatLie) {
  auto entries = three();
  entries[1].name = "b";
  entries[1].local_name = "b";
  expect_refused<ValidationError>(archive(entries), "\"b\" twice");
  entries = three();
  entries[0].local_name = "c";
  expect_refused<ValidationError>(archive(entries), "another name");
  entries = three();
  entries[0].size_off = 5;  // runs into the next entry
  expect_refused<ValidationError>(archive(entries), "overlap");
  entries = three();
  entries[2].size_off = 1;
  expect_refused<ValidationError>(archive(entries), "before the directory");
  entries = three();
  entries[0].offset_off = 1;
  expect_refused<ValidationError>(archive(entries), "no entry header");
  for (const bool zip64 : {false, true}) {
    entries = three();
    entries[0].offset_off = 1'000'000;
    expect_refused<ValidationError>(archive(entries, zip64), "an entry at offset");
  }
  entries = three();
  entries[0].size_off = std::int64_t{1} << 62;
  expect_refused<ValidationError>(archive(entries, true), "before the directory");
}

TEST(ZipDirectory, TwoEntriesOnTheSameBytes) {
  // The bomb of overlapping files: both name one header.
  auto entries = three();
  const std::string first = archive({entries[0]});
  const std::size_t header = 30 + 1 + 5 + entries[0].data.size();
  entries[1] = entries[0];
  entries[1].offset_off = -static_cast<std::int64_t>(header);
  expect_refused<ValidationError>(archive(entries), "overlap");
}

TEST(ZipDirectory, NoDirectory) {
  expect_refused<ValidationError>("", "no end of a zip directory");
  expect_refused<ValidationError>("PK\x05\x06", "no end of a zip directory");
  expect_refused<ValidationError>(std::string(100'000, 'x'), "no end of a zip directory");
  const std::string whole = archive(three(), true);
  for (std::size_t size = 0; size < whole.size() - 7; size += 3) {
    const TempDirectory folder;
    const auto path = folder.write("x.zip", whole.substr(0, size));
    EXPECT_THROW(ZipDirectory(MappedFile(path)), ValidationError) << size;
  }
}

}  // namespace
}  // namespace qwodel
