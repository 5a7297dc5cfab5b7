// Reads little-endian values front to back and never past the end.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace qwodel {

static_assert(std::endian::native == std::endian::little,
              "files are little-endian and are read in place");

// `source` names the file in errors; `what` names the field being read. Every method throws
// ValidationError when fewer bytes are left than it needs.
class ByteCursor {
 public:
  ByteCursor(std::span<const std::byte> bytes, std::string source)
      : bytes_(bytes), source_(std::move(source)) {}

  std::span<const std::byte> take(std::uint64_t count, std::string_view what);

  template <class T>
  T read(std::string_view what) {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  // `count` raw bytes as text.
  std::string text(std::uint64_t count, std::string_view what);

  std::uint64_t position() const { return at_; }
  std::uint64_t remaining() const { return bytes_.size() - at_; }
  const std::string& source() const { return source_; }

 private:
  std::span<const std::byte> bytes_;
  std::string source_;
  std::size_t at_ = 0;
};

}  // namespace qwodel
