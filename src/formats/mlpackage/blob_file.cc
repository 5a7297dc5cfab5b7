#include "formats/mlpackage/blob_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "core/checked.h"
#include "io/byte_cursor.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kAlignment = 64;
constexpr std::uint32_t kVersion = 2;
constexpr std::uint32_t kSentinel = 0xDEADBEEF;
constexpr std::uint64_t kMaxSize = std::numeric_limits<std::int64_t>::max();

constexpr std::array kTypes = {
    BlobTypeInfo{BlobType::float16, "fp16", 16},  BlobTypeInfo{BlobType::float32, "fp32", 32},
    BlobTypeInfo{BlobType::uint8, "uint8", 8},    BlobTypeInfo{BlobType::int8, "int8", 8},
    BlobTypeInfo{BlobType::bfloat16, "bf16", 16}, BlobTypeInfo{BlobType::int16, "int16", 16},
    BlobTypeInfo{BlobType::uint16, "uint16", 16}, BlobTypeInfo{BlobType::int4, "int4", 4},
    BlobTypeInfo{BlobType::uint1, "uint1", 1},    BlobTypeInfo{BlobType::uint2, "uint2", 2},
    BlobTypeInfo{BlobType::uint4, "uint4", 4},    BlobTypeInfo{BlobType::uint3, "uint3", 3},
    BlobTypeInfo{BlobType::uint6, "uint6", 6},    BlobTypeInfo{BlobType::int32, "int32", 32},
    BlobTypeInfo{BlobType::uint32, "uint32", 32},
};

template <class T>
void put(std::span<std::byte> out, std::size_t at, T value) {
  std::memcpy(out.data() + at, &value, sizeof(value));
}

[[noreturn]] void fail(const std::filesystem::path& path, std::string found, std::string expected) {
  throw ValidationError({.where = path.string(),
                         .found = std::move(found),
                         .expected = std::move(expected),
                         .remedy = "make the package again"});
}

// The blob whose metadata come next; the cursor is moved behind its data.
Blob read_blob(ByteCursor& cursor, const std::filesystem::path& path, std::uint64_t index) {
  cursor.take((kAlignment - cursor.position() % kAlignment) % kAlignment, "padding");
  Blob blob;
  blob.position = cursor.position();
  const auto sentinel = cursor.read<std::uint32_t>("blob metadata");
  const auto number = cursor.read<std::uint32_t>("blob type");
  blob.bytes = cursor.read<std::uint64_t>("blob size");
  const auto data = cursor.read<std::uint64_t>("blob position");
  blob.unused_bits = cursor.read<std::uint64_t>("blob padding");
  cursor.take(4 * sizeof(std::uint64_t), "reserved fields");
  if (sentinel != kSentinel) {
    fail(path, fmt::format("{:#x} at {}", sentinel, blob.position), "the metadata of a blob");
  }
  const auto type = blob_type(number);
  if (!type) fail(path, fmt::format("type {} of blob {}", number, index), "a known type");
  blob.type = type->type;
  if (data != blob.data_position()) {
    fail(path, fmt::format("data of blob {} at {}", index, data), "data behind their metadata");
  }
  cursor.take(blob.bytes, "blob data");
  const bool whole = blob.unused_bits < 8 && (blob.unused_bits == 0 || blob.bytes > 0) &&
                     (blob.bytes * 8 - blob.unused_bits) % type->bits == 0;
  if (!whole) fail(path, fmt::format("{} bytes of blob {}", blob.bytes, index), "whole values");
  return blob;
}

}  // namespace

std::optional<BlobTypeInfo> blob_type(std::uint32_t number) {
  const auto* found = std::ranges::find(kTypes, static_cast<BlobType>(number), &BlobTypeInfo::type);
  if (found == kTypes.end()) return std::nullopt;
  return *found;
}

const BlobTypeInfo& info(BlobType type) {
  return *std::ranges::find(kTypes, type, &BlobTypeInfo::type);
}

const Blob& BlobLayout::add(BlobType type, std::uint64_t values) {
  const auto bits = checked_mul(values, info(type).bits);
  const auto position = checked_align(end_, kAlignment);
  const auto bytes = bits ? checked_add(*bits, 7) : std::nullopt;
  const auto data = position ? checked_add(*position, kAlignment) : std::nullopt;
  const auto end = data && bytes ? checked_add(*data, *bytes / 8) : std::nullopt;
  if (!end || *end > kMaxSize) {
    throw ValidationError({.where = "the weight file",
                           .found = "more data than 63 bits can count",
                           .expected = "weights of a model",
                           .remedy = {}});
  }
  end_ = *end;
  blobs_.push_back({.type = type,
                    .bytes = *bytes / 8,
                    .position = *position,
                    .unused_bits = (8 - *bits % 8) % 8});
  return blobs_.back();
}

std::array<std::byte, 64> BlobLayout::header() const {
  std::array<std::byte, 64> bytes = {};
  put(bytes, 0, static_cast<std::uint32_t>(blobs_.size()));
  put(bytes, 4, kVersion);
  return bytes;
}

std::array<std::byte, 64> BlobLayout::metadata(const Blob& blob) {
  std::array<std::byte, 64> bytes = {};
  put(bytes, 0, kSentinel);
  put(bytes, 4, static_cast<std::uint32_t>(blob.type));
  put(bytes, 8, blob.bytes);
  put(bytes, 16, blob.data_position());
  put(bytes, 24, blob.unused_bits);
  return bytes;
}

BlobFile::BlobFile(const std::filesystem::path& path) : file_(path) {
  ByteCursor cursor(file_.bytes(), path.string());
  const auto count = cursor.read<std::uint32_t>("number of blobs");
  const auto version = cursor.read<std::uint32_t>("version");
  if (version != kVersion) fail(path, fmt::format("version {}", version), "blob storage version 2");
  cursor.take(kAlignment - cursor.position(), "reserved fields");
  for (std::uint64_t i = 0; i < count; ++i) blobs_.push_back(read_blob(cursor, path, i));
}

const Blob* BlobFile::find(std::uint64_t position) const {
  const auto found = std::ranges::lower_bound(blobs_, position, {}, &Blob::position);
  return found == blobs_.end() || found->position != position ? nullptr : &*found;
}

std::span<const std::byte> BlobFile::data(const Blob& blob) const {
  return file_.bytes().subspan(static_cast<std::size_t>(blob.data_position()),
                               static_cast<std::size_t>(blob.bytes));
}

}  // namespace qwodel
