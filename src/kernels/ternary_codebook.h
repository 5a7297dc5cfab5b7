// Codebooks of groups of eight ternary levels, and searches of IQ1_S and IQ1_M over them.
//
// A point is eight levels 0, 1, 2, written two bits each, the first lowest. Its ternary index is
// the same levels as a number in base 3, the first the lowest digit.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/block_group.h"

namespace qwodel {

inline constexpr std::size_t kTernaryIndices = 6561;  // 3^8

// What a group of levels is replaced by: a codebook point, or the best of a list of points near it.
struct TernaryEntry {
  std::uint32_t neighbours;  // first of its list
  std::uint16_t length;      // of its list, a multiple of 16; 0 for a point of the codebook
  std::uint16_t point;       // number of the point, or of the nearest one
};

struct TernaryCodebook {
  const TernaryEntry* entries;      // [kTernaryIndices]
  const std::uint16_t* neighbours;  // points, nearest first; the last of a list repeated to fill up
  const std::uint16_t* points;      // the codebook, by number
};

// Base-3 values of a byte of four levels.
inline constexpr std::array<std::uint8_t, 256> kTernaryOfByte = [] {
  std::array<std::uint8_t, 256> values{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    unsigned value = 0;
    for (unsigned place = 1, bits = byte; bits != 0; bits >>= 2, place *= 3) {
      value += (bits & 3u) * place;
    }
    values[byte] = static_cast<std::uint8_t>(value);
  }
  return values;
}();

// REQUIRES: no level of the point is 3.
constexpr unsigned ternary_index(std::uint16_t point) {
  return kTernaryOfByte[point & 255u] + 81u * kTernaryOfByte[point >> 8];
}

// One super-block of 256 values in parts of 32 (IQ1_S) or 16 (IQ1_M), as fitted.
struct TernaryFit {
  float scale[16];          // of each part, not negative
  std::uint8_t shift[16];   // IQ1_S: 1 if the levels are shifted down. IQ1_M: bit 1 for the first
                            // eight values, bit 0 for the last eight
  std::uint16_t point[32];  // number of the codebook point of each eight values
  std::uint8_t level[16];   // IQ1_M: a part's scale is step * (2 * level + 1)
  float step;               // IQ1_M
};

}  // namespace qwodel
