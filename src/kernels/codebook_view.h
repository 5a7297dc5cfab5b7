// A codebook as the search kernels see it: groups of eight levels 0 ... 2 or of four levels 0
// ... 7.
//
// A point is the levels of a group in one number, the first lowest, two bits each (eight levels) or
// three (four). A slot numbers all groups without gaps: base 3 for eight levels, base 8 for four.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/ternary_codebook.h"

namespace qwodel {

// Lists are filled up to a multiple of this, so that whole vectors of points can be loaded. What
// fills them must not be chosen: a point with levels of 3 where 2 is the highest; with four levels,
// the last point again with the bit above the last level set.
inline constexpr std::size_t kListUnit = 16;
inline constexpr std::uint16_t kFillOfEight = 0xFFFF;
inline constexpr std::uint16_t kFillBitOfFour = 0x1000;

// What a group of levels is replaced by: a point of the codebook, or the best of a list of points.
struct CodebookEntry {
  std::uint32_t list;    // first of its list in CodebookView::lists
  std::uint16_t length;  // of its list, filled up; 0 for a point of the codebook
  std::uint16_t number;  // of the point; of the nearest point where there is a list
};

struct CodebookView {
  unsigned width;                // values per point: 8 or 4
  const CodebookEntry* entries;  // by slot
  const std::uint16_t* lists;    // points, nearest first, filled up at the end
  const std::uint16_t* points;   // by number
};

inline constexpr std::size_t kOctalSlots = 4096;  // 8^4; for eight levels kTernaryIndices

constexpr unsigned codebook_slot(unsigned width, std::uint16_t point) {
  return width == 8 ? ternary_index(point) : point;
}

}  // namespace qwodel
