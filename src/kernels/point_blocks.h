// Search of the codebook encodings (IQ2 and IQ3): super-blocks of 256 values in parts that share a
// scale, in groups that become a point of a codebook.
//
// A value is sign * scale * (2 * level + 1). For every part some scales are tried; under each, a
// group's rounded levels are replaced by the nearest point among a list, and the scale that
// explains most is kept.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/block_group.h"
#include "kernels/codebook_view.h"

namespace qwodel {

inline constexpr std::size_t kPointBlock = 256;

// Which groups are searched again under the part's final scale.
enum class FinalSearch {
  off_points,  // those whose rounded levels were no point of the codebook
  whole_part,  // all, if that was so of any
  always,      // all
};

struct PointRecipe {
  std::size_t part;  // values that share a scale: 16 or 32
  bool even_signs;   // an even number of signs of eight are negative: the last follows from the
                     // others
  float spread;      // the variance in the weights is spread * mean square of the super-block
  // Without importance: weight = plain_spread * variance + square. Negative: importance is
  // required.
  float plain_spread;
  float least;     // a part whose values are below this (or 0) becomes zeros
  bool fit_reach;  // the reach is 3 * a fitted scale (make_qp_quants), not the largest value
  int trials;      // scales reach / (2 * top level + 1 + i * trial_step), |i| <= trials
  float trial_step;
  FinalSearch final_search;
  // The reference's IQ3_S writes the lower eight bits of the numbers and the signs of a part where
  // the last part that was not zeros ended: after zeros they are misplaced. The bytes must agree.
  bool closes_gaps;
  float fudge;  // the stored block scale is larger by this factor
};

struct PointBlock {
  std::uint16_t scale;                   // half
  std::array<std::uint8_t, 16> scales;   // of each part: 0 ... 15, meaning 2 * scale + 1
  std::array<std::uint8_t, 32> signs;    // of each eight values: bit i set if value i is negative
  std::array<std::uint16_t, 64> points;  // number of the point of each group
};

// Super-blocks that one call encodes.
inline constexpr std::size_t kPointBatch = 2;

// Encodes up to kPointBatch blocks from block `first` on; returns how many.
std::size_t fit_point_blocks(const PointRecipe& recipe, const CodebookView& codebook,
                             const BlockRows& rows, std::size_t first, PointBlock* out);

// values[i] = levels[i] * scales[i / group], `count` a multiple of `group`, `group` of 16.
void scale_levels(const std::int8_t* levels, const float* scales, std::size_t count,
                  std::size_t group, float* values);

}  // namespace qwodel
