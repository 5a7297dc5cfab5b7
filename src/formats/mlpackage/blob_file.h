// Core ML's weight file: blobs of typed values (MIL blob storage, version 2).
//
//   0    u32 number of blobs, u32 version = 2, zeros up to 64
//   64   of each blob: 64 bytes of metadata {u32 0xDEADBEEF, u32 type, u64 bytes, u64 position of
//        the data, u64 unused bits in the last byte, zeros}, the data, zeros to a multiple of 64
//
// Nothing follows the last blob's data. A program refers to a blob by the position of its metadata.
// Values of less than 8 bits are one stream of bits, the first in the lowest bits of the first
// byte; rows are not padded.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "io/mapped_file.h"

namespace qwodel {

// The numbers of the file.
enum class BlobType : std::uint32_t {
  float16 = 1,
  float32 = 2,
  uint8 = 3,
  int8 = 4,
  bfloat16 = 5,
  int16 = 6,
  uint16 = 7,
  int4 = 8,
  uint1 = 9,
  uint2 = 10,
  uint4 = 11,
  uint3 = 12,
  uint6 = 13,
  int32 = 14,
  uint32 = 15,
};

struct BlobTypeInfo {
  BlobType type;
  std::string_view name;  // "fp16", "uint4"
  unsigned bits;
};

// Nothing for a number that is no type.
std::optional<BlobTypeInfo> blob_type(std::uint32_t number);
const BlobTypeInfo& info(BlobType type);

struct Blob {
  BlobType type = BlobType::float16;
  std::uint64_t bytes = 0;        // of the data
  std::uint64_t position = 0;     // of the metadata in the file; the data are 64 bytes further
  std::uint64_t unused_bits = 0;  // of the last byte

  std::uint64_t data_position() const { return position + 64; }
  std::uint64_t values() const { return (bytes * 8 - unused_bits) / info(type).bits; }
  bool operator==(const Blob&) const = default;
};

// Where the blobs of a file lie, before there are any data.
class BlobLayout {
 public:
  // Puts a blob of `values` values behind the others. Throws ValidationError when the file would
  // pass 2^63 bytes.
  const Blob& add(BlobType type, std::uint64_t values);

  const std::vector<Blob>& blobs() const { return blobs_; }
  std::uint64_t file_size() const { return end_; }

  // The first 64 bytes of the file, and those before a blob's data.
  std::array<std::byte, 64> header() const;
  static std::array<std::byte, 64> metadata(const Blob& blob);

 private:
  std::vector<Blob> blobs_;
  std::uint64_t end_ = 64;
};

// A weight file, mapped. Immutable; reading from several threads is safe.
class BlobFile {
 public:
  // Throws ValidationError when it is no file of version 2 or its blobs do not follow each other
  // as its header says, DependencyError when it cannot be read.
  explicit BlobFile(const std::filesystem::path& path);

  const std::vector<Blob>& blobs() const { return blobs_; }
  // The blob whose metadata are at this position, or nullptr.
  const Blob* find(std::uint64_t position) const;
  std::span<const std::byte> data(const Blob& blob) const;

 private:
  MappedFile file_;
  std::vector<Blob> blobs_;
};

}  // namespace qwodel
