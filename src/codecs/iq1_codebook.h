// The codebook shared by IQ1_S and IQ1_M, with the lists that the reference encoder searches.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/ternary_codebook.h"

namespace qwodel {

inline constexpr std::size_t kIq1Points = 2048;

// The points by number: what a decoder needs.
extern const std::array<std::uint16_t, kIq1Points> kIq1PointTable;

// The levels are shifted by an eighth up or down: -1, 0, 1 -> -0.875, 0.125, 1.125 or the mirror
// image.
inline constexpr float kIq1Shift = 0.125f;

// Points and neighbour lists, made at the first call (some milliseconds). Thread-safe.
const TernaryCodebook& iq1_codebook();

// The number of the point whose shifted levels times `scale` are nearest to values[8]; of several,
// the lowest.
std::uint16_t nearest_iq1_point(const float* values, float scale, float shift);

}  // namespace qwodel
