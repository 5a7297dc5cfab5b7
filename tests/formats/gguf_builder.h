// Writes GGUF bytes field by field, right or wrong, for tests of the reader.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace qwodel {

class GgufBuilder {
 public:
  template <class T>
  GgufBuilder& put(T value) {
    static_assert(std::is_arithmetic_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T));
    return *this;
  }

  GgufBuilder& text(std::string_view value) {
    put<std::uint64_t>(value.size());
    bytes_ += value;
    return *this;
  }

  GgufBuilder& header(std::uint64_t tensors, std::uint64_t keys, std::uint32_t version = 3) {
    bytes_ += "GGUF";
    return put(version).put(tensors).put(keys);
  }

  template <class T>
  GgufBuilder& key(std::string_view name, std::uint32_t type, T value) {
    return text(name).put(type).put(value);
  }

  GgufBuilder& key(std::string_view name, std::string_view value) {
    return text(name).put(std::uint32_t{8}).text(value);
  }

  // Dimensions in GGUF's order, contiguous first.
  GgufBuilder& tensor(std::string_view name, const std::vector<std::uint64_t>& dimensions,
                      std::uint32_t type, std::uint64_t offset) {
    text(name).put(static_cast<std::uint32_t>(dimensions.size()));
    for (const std::uint64_t extent : dimensions) put(extent);
    return put(type).put(offset);
  }

  GgufBuilder& align(std::size_t alignment = 32) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment, '\0');
    return *this;
  }

  GgufBuilder& raw(std::string_view bytes) {
    bytes_ += bytes;
    return *this;
  }

  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

}  // namespace qwodel
