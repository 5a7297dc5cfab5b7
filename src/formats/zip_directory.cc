#include "formats/zip_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "io/byte_cursor.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

// Signatures of the records, and their sizes without the variable parts.
constexpr std::uint32_t kLocalSignature = 0x04034b50;
constexpr std::uint32_t kCentralSignature = 0x02014b50;
constexpr std::uint32_t kEndSignature = 0x06054b50;
constexpr std::uint32_t kZip64EndSignature = 0x06064b50;
constexpr std::uint32_t kZip64LocatorSignature = 0x07064b50;
constexpr std::uint64_t kCentralBytes = 46;
constexpr std::uint64_t kEndBytes = 22;
constexpr std::uint64_t kZip64LocatorBytes = 20;
constexpr std::uint64_t kMaxComment = 0xFFFF;

constexpr std::uint16_t kZip64Extra = 0x0001;
constexpr std::uint16_t kEncrypted = 1;
constexpr std::uint32_t kIn64 = 0xFFFFFFFFu;  // "the value is in the Zip64 field"

struct Directory {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;
  std::uint64_t offset = 0;
};

// An entry as the central directory describes it.
struct Record {
  std::string name;
  std::uint16_t flags = 0;
  std::uint16_t method = 0;
  std::uint64_t stored_bytes = 0;
  std::uint64_t plain_bytes = 0;
  std::uint64_t header = 0;  // offset of the local header
  std::uint64_t begin = 0;   // of the data
};

[[noreturn]] void fail(const std::string& where, std::string found, std::string expected) {
  throw ValidationError({.where = where,
                         .found = std::move(found),
                         .expected = std::move(expected),
                         .remedy = "the archive is damaged: download or write it again"});
}

ByteCursor cursor_at(const MappedFile& file, std::uint64_t offset, std::string_view what) {
  if (offset > file.bytes().size()) {
    fail(file.path().string(), fmt::format("{} at offset {}", what, offset),
         fmt::format("at most {}", file.bytes().size()));
  }
  return ByteCursor(file.bytes().subspan(offset), file.path().string());
}

std::uint64_t find_end_record(const MappedFile& file) {
  const auto bytes = file.bytes();
  const std::uint64_t last = bytes.size() < kEndBytes ? 0 : bytes.size() - kEndBytes + 1;
  const std::uint64_t first = last > kMaxComment ? last - kMaxComment : 0;
  for (std::uint64_t at = last; at > first; --at) {
    std::uint32_t signature = 0;
    std::memcpy(&signature, bytes.data() + at - 1, sizeof signature);
    if (signature == kEndSignature) return at - 1;
  }
  fail(file.path().string(), "no end of a zip directory", "a complete archive");
}

void expect_signature(ByteCursor& cursor, std::uint32_t signature, std::string_view what) {
  if (cursor.read<std::uint32_t>(what) != signature) {
    fail(cursor.source(), fmt::format("no {}", what), "one at the place the archive says");
  }
}

Directory read_zip64_end(const MappedFile& file, std::uint64_t end) {
  if (end < kZip64LocatorBytes) fail(file.path().string(), "no Zip64 locator", "one");
  ByteCursor locator = cursor_at(file, end - kZip64LocatorBytes, "a Zip64 locator");
  expect_signature(locator, kZip64LocatorSignature, "Zip64 locator");
  locator.take(4, "a disk number");
  ByteCursor cursor =
      cursor_at(file, locator.read<std::uint64_t>("an offset"), "a Zip64 end record");
  expect_signature(cursor, kZip64EndSignature, "Zip64 end record");
  cursor.take(8 + 2 + 2 + 4 + 4 + 8, "a Zip64 end record");  // up to the total number of entries
  Directory directory;
  directory.entries = cursor.read<std::uint64_t>("the number of entries");
  directory.bytes = cursor.read<std::uint64_t>("the size of the directory");
  directory.offset = cursor.read<std::uint64_t>("the offset of the directory");
  return directory;
}

Directory read_end(const MappedFile& file) {
  const std::uint64_t end = find_end_record(file);
  ByteCursor cursor = cursor_at(file, end, "the end record");
  cursor.take(4, "a signature");
  const auto disk = cursor.read<std::uint16_t>("a disk number");
  const auto start_disk = cursor.read<std::uint16_t>("a disk number");
  cursor.take(2, "the entries of this disk");
  Directory directory;
  directory.entries = cursor.read<std::uint16_t>("the number of entries");
  directory.bytes = cursor.read<std::uint32_t>("the size of the directory");
  directory.offset = cursor.read<std::uint32_t>("the offset of the directory");
  if (directory.entries == 0xFFFF || directory.bytes == kIn64 || directory.offset == kIn64) {
    directory = read_zip64_end(file, end);
  } else if (disk != 0 || start_disk != 0) {
    throw FormatNotSupportedError({.where = file.path().string(),
                                   .found = "an archive on several disks",
                                   .expected = "one file",
                                   .remedy = ""});
  }
  if (directory.offset > end || directory.bytes > end - directory.offset ||
      directory.entries > directory.bytes / kCentralBytes) {
    fail(file.path().string(),
         fmt::format("{} entries in {} bytes at offset {}", directory.entries, directory.bytes,
                     directory.offset),
         "a directory before the end record");
  }
  return directory;
}

// Takes the 64-bit values of those fields that say so, in the order the format gives.
void read_zip64_extra(ByteCursor extra, Record& record) {
  while (extra.remaining() >= 4) {
    const auto id = extra.read<std::uint16_t>("an extra field");
    const auto size = extra.read<std::uint16_t>("an extra field");
    ByteCursor field(extra.take(size, "an extra field"), extra.source());
    if (id != kZip64Extra) continue;
    for (std::uint64_t* value : {&record.plain_bytes, &record.stored_bytes, &record.header}) {
      if (*value == kIn64) *value = field.read<std::uint64_t>("a Zip64 field");
    }
    return;
  }
}

Record read_record(ByteCursor& cursor) {
  expect_signature(cursor, kCentralSignature, "directory entry");
  cursor.take(4, "version numbers");
  Record record;
  record.flags = cursor.read<std::uint16_t>("flags");
  record.method = cursor.read<std::uint16_t>("a compression method");
  cursor.take(4 + 4, "time and checksum");
  record.stored_bytes = cursor.read<std::uint32_t>("a size");
  record.plain_bytes = cursor.read<std::uint32_t>("a size");
  const auto name_bytes = cursor.read<std::uint16_t>("the length of a name");
  const auto extra_bytes = cursor.read<std::uint16_t>("the length of extra fields");
  const auto comment_bytes = cursor.read<std::uint16_t>("the length of a comment");
  cursor.take(2 + 2 + 4, "disk number and attributes");
  record.header = cursor.read<std::uint32_t>("the offset of an entry");
  record.name = cursor.text(name_bytes, "a name");
  const auto extra = cursor.take(extra_bytes, "extra fields");
  cursor.take(comment_bytes, "a comment");
  read_zip64_extra(ByteCursor(extra, cursor.source()), record);
  return record;
}

void check_stored(const Record& record, const std::string& file) {
  const std::string where = fmt::format("{}: entry \"{}\"", file, record.name);
  if (record.method != 0 || (record.flags & kEncrypted) != 0) {
    throw FormatNotSupportedError(
        {.where = where,
         .found = record.method != 0 ? fmt::format("compression method {}", record.method)
                                     : "encrypted data",
         .expected = "data stored as it is, as torch.save writes it",
         .remedy = "save the model again with torch.save or as safetensors"});
  }
  if (record.stored_bytes != record.plain_bytes) {
    fail(where, fmt::format("{} stored bytes for {}", record.stored_bytes, record.plain_bytes),
         "equal sizes for data that is not compressed");
  }
}

// The data begins behind the entry's own header, whose variable parts may differ in length from
// those in the directory (torch pads there to align the data).
void find_data(const MappedFile& file, std::uint64_t limit, Record& record) {
  const std::string where = fmt::format("{}: entry \"{}\"", file.path().string(), record.name);
  ByteCursor cursor = cursor_at(file, record.header, "an entry");
  expect_signature(cursor, kLocalSignature, "entry header");
  cursor.take(22, "an entry header");  // up to the length of the name
  const auto name_bytes = cursor.read<std::uint16_t>("the length of a name");
  const auto extra_bytes = cursor.read<std::uint16_t>("the length of extra fields");
  if (cursor.text(name_bytes, "a name") != record.name) {
    fail(where, "another name in the entry's header", "the same name in both places");
  }
  cursor.take(extra_bytes, "extra fields");
  record.begin = record.header + cursor.position();
  if (record.begin > limit || record.stored_bytes > limit - record.begin) {
    fail(where, fmt::format("{} bytes at offset {}", record.stored_bytes, record.begin),
         fmt::format("data before the directory at {}", limit));
  }
}

void refuse_overlap(std::vector<Record>& records, const std::string& file) {
  std::ranges::sort(records, {}, &Record::header);
  for (std::size_t i = 1; i < records.size(); ++i) {
    const Record& before = records[i - 1];
    if (before.begin + before.stored_bytes > records[i].header) {
      fail(file,
           fmt::format("entries \"{}\" and \"{}\" that overlap", before.name, records[i].name),
           "bytes of its own for each");
    }
  }
}

}  // namespace

ZipDirectory::ZipDirectory(const MappedFile& file) {
  const std::string name = file.path().string();
  const Directory directory = read_end(file);
  ByteCursor cursor(file.bytes().subspan(directory.offset, directory.bytes), name);
  std::vector<Record> records;
  records.reserve(directory.entries);
  for (std::uint64_t i = 0; i < directory.entries; ++i) {
    Record& record = records.emplace_back(read_record(cursor));
    check_stored(record, name);
    find_data(file, directory.offset, record);
  }
  refuse_overlap(records, name);
  std::ranges::sort(records, {}, &Record::name);
  entries_.reserve(records.size());
  for (Record& record : records) {
    if (!entries_.empty() && entries_.back().name == record.name) {
      fail(name, fmt::format("entry \"{}\" twice", record.name), "every entry once");
    }
    entries_.push_back(
        {std::move(record.name), file.bytes().subspan(record.begin, record.stored_bytes)});
  }
}

const ZipEntry* ZipDirectory::find(std::string_view name) const {
  const auto entry = std::ranges::lower_bound(entries_, name, {}, &ZipEntry::name);
  return entry == entries_.end() || entry->name != name ? nullptr : &*entry;
}

}  // namespace qwodel
