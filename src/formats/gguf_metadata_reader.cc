#include "formats/gguf_metadata_reader.h"

#include <fmt/format.h>

#include <array>
#include <string>
#include <unordered_set>
#include <utility>

#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kMaxStringBytes = std::uint64_t{1} << 30;  // limits of ggml's reader
constexpr std::uint64_t kMaxElements = std::uint64_t{1} << 30;
constexpr std::uint64_t kKeyBytes = 8 + 1 + 4 + 1;  // of the shortest key with its value

[[noreturn]] void fail(const ByteCursor& cursor, std::string found, std::string expected) {
  throw ValidationError({.where = cursor.source(),
                         .found = std::move(found),
                         .expected = std::move(expected),
                         .remedy = "the file is damaged: download or write it again"});
}

std::string read_string(ByteCursor& cursor) {
  const auto size = cursor.read<std::uint64_t>("the length of a string");
  if (size > kMaxStringBytes) {
    fail(cursor, fmt::format("a string of {} bytes", size),
         fmt::format("at most {}", kMaxStringBytes));
  }
  return cursor.text(size, "a string");
}

template <class T>
T read_element(ByteCursor& cursor) {
  if constexpr (std::is_same_v<T, std::string>) {
    return read_string(cursor);
  } else if constexpr (std::is_same_v<T, GgufBool>) {
    return GgufBool{cursor.read<std::uint8_t>("a flag") != 0};
  } else {
    return cursor.read<T>("a value");
  }
}

template <class T>
constexpr std::uint64_t least_bytes() {
  if constexpr (std::is_same_v<T, std::string>) return sizeof(std::uint64_t);
  return sizeof(T);
}
static_assert(least_bytes<GgufBool>() == 1);

template <class T>
GgufArray read_elements(ByteCursor& cursor, std::uint64_t count) {
  if (count > cursor.remaining() / least_bytes<T>()) {
    fail(cursor, fmt::format("an array of {} values", count),
         fmt::format("at most what the {} bytes left can hold", cursor.remaining()));
  }
  std::vector<T> values;
  values.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) values.push_back(read_element<T>(cursor));
  return GgufArray(std::move(values));
}

GgufArray refuse_nested(ByteCursor& cursor, std::uint64_t /*count*/) {
  fail(cursor, "an array of arrays", "an array of numbers, flags or strings");
}

GgufValue read_array(ByteCursor& cursor);

template <class T>
GgufValue read_value(ByteCursor& cursor) {
  return GgufValue(read_element<T>(cursor));
}

// Both tables are indexed by the type id on disk.
constexpr std::array<GgufArray (*)(ByteCursor&, std::uint64_t), 13> kReadElements = {
    read_elements<std::uint8_t>,  read_elements<std::int8_t>,
    read_elements<std::uint16_t>, read_elements<std::int16_t>,
    read_elements<std::uint32_t>, read_elements<std::int32_t>,
    read_elements<float>,         read_elements<GgufBool>,
    read_elements<std::string>,   refuse_nested,
    read_elements<std::uint64_t>, read_elements<std::int64_t>,
    read_elements<double>};
constexpr std::array<GgufValue (*)(ByteCursor&), 13> kReadValue = {
    read_value<std::uint8_t>,  read_value<std::int8_t>,
    read_value<std::uint16_t>, read_value<std::int16_t>,
    read_value<std::uint32_t>, read_value<std::int32_t>,
    read_value<float>,         read_value<GgufBool>,
    read_value<std::string>,   read_array,
    read_value<std::uint64_t>, read_value<std::int64_t>,
    read_value<double>};

std::uint32_t read_type(ByteCursor& cursor) {
  const auto type = cursor.read<std::uint32_t>("a value type");
  if (type >= kReadValue.size()) {
    fail(cursor, fmt::format("value type {}", type), fmt::format("0 to {}", kReadValue.size() - 1));
  }
  return type;
}

GgufValue read_array(ByteCursor& cursor) {
  const std::uint32_t type = read_type(cursor);
  const auto count = cursor.read<std::uint64_t>("the length of an array");
  if (count > kMaxElements) {
    fail(cursor, fmt::format("an array of {} values", count),
         fmt::format("at most {}", kMaxElements));
  }
  return GgufValue(kReadElements[type](cursor, count));
}

}  // namespace

GgufMetadata read_gguf_metadata(ByteCursor& cursor, std::uint64_t count) {
  if (count > cursor.remaining() / kKeyBytes) {
    fail(cursor, fmt::format("{} keys", count),
         fmt::format("at most what the {} bytes left can hold", cursor.remaining()));
  }
  GgufMetadata metadata;
  std::unordered_set<std::string> seen;
  for (std::uint64_t i = 0; i < count; ++i) {
    std::string key = read_string(cursor);
    if (key.empty()) fail(cursor, "an empty key", "a name");
    if (!seen.insert(key).second) fail(cursor, fmt::format("key \"{}\" twice", key), "unique keys");
    const std::uint32_t type = read_type(cursor);
    metadata.append(std::move(key), kReadValue[type](cursor));
  }
  return metadata;
}

}  // namespace qwodel
