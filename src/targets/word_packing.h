// Codes of 2 to 8 bits in 32-bit little-endian words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "qwodel/error.h"

namespace qwodel {

// Words that `count` codes fill, the last one perhaps in part.
constexpr std::uint64_t words_of(std::uint64_t count, unsigned bits) {
  return (count * bits + 31) / 32;
}

// Hands `count` codes code(i) to sink(word index, word): one stream, lowest bits first, codes
// straddle words; unused bits are 0.
template <class Code, class Sink>
void pack_stream(std::uint64_t count, unsigned bits, Code code, Sink sink) {
  std::uint64_t buffer = 0;
  unsigned filled = 0;
  std::uint64_t word = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    buffer |= static_cast<std::uint64_t>(code(i)) << filled;
    filled += bits;
    if (filled < 32) continue;
    sink(word++, static_cast<std::uint32_t>(buffer));
    buffer >>= 32;
    filled -= 32;
  }
  if (filled > 0) sink(word, static_cast<std::uint32_t>(buffer));
}

// Typed arrays one after the other in the bytes of a linear's tensors. REQUIRES: room for them.
class PackedArrays {
 public:
  explicit PackedArrays(std::span<std::byte> bytes) : next_(bytes.data()) {}

  std::uint32_t* words(std::uint64_t count) { return take<std::uint32_t>(count); }
  std::uint16_t* halves(std::uint64_t count) { return take<std::uint16_t>(count); }
  std::int64_t* longs(std::uint64_t count) { return take<std::int64_t>(count); }

 private:
  template <class T>
  T* take(std::uint64_t count) {
    T* start = reinterpret_cast<T*>(next_);
    next_ += count * sizeof(T);
    return start;
  }

  std::byte* next_;
};

// Throws FormatNotSupportedError unless `divisor` divides `extent`.
void require_multiple(std::string_view base, std::string_view what, std::uint64_t extent,
                      std::uint64_t divisor);

}  // namespace qwodel
