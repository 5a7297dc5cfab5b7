#include "codecs/bit_stream.h"

#include <algorithm>

namespace qwodel {
namespace {

constexpr std::size_t kRun = 8;  // codes that are whole bytes, whatever their bits

}  // namespace

std::vector<std::byte> pack_bits(std::span<const std::uint8_t> codes, unsigned bits) {
  const std::uint64_t mask = (std::uint64_t{1} << bits) - 1;
  std::vector<std::byte> bytes((codes.size() * bits + 7) / 8);
  std::byte* out = bytes.data();
  for (std::size_t first = 0; first < codes.size(); first += kRun) {
    const std::size_t count = std::min(kRun, codes.size() - first);
    std::uint64_t run = 0;
    for (std::size_t i = 0; i < count; ++i) run |= (codes[first + i] & mask) << (i * bits);
    for (std::size_t i = 0; i < (count * bits + 7) / 8; ++i) {
      *out++ = static_cast<std::byte>(run >> (8 * i));
    }
  }
  return bytes;
}

std::vector<std::uint8_t> unpack_bits(std::span<const std::byte> bytes, unsigned bits,
                                      std::size_t count) {
  const std::uint64_t mask = (std::uint64_t{1} << bits) - 1;
  std::vector<std::uint8_t> codes(count);
  for (std::size_t first = 0; first < count; first += kRun) {
    const std::size_t codes_here = std::min(kRun, count - first);
    const std::byte* from = bytes.data() + first * bits / 8;
    std::uint64_t run = 0;
    for (std::size_t i = 0; i < (codes_here * bits + 7) / 8; ++i) {
      run |= static_cast<std::uint64_t>(from[i]) << (8 * i);
    }
    for (std::size_t i = 0; i < codes_here; ++i) {
      codes[first + i] = static_cast<std::uint8_t>(run >> (i * bits) & mask);
    }
  }
  return codes;
}

}  // namespace qwodel
