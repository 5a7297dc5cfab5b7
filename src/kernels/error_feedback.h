// The inner loop of GPTQ: round one column, push its error onto the columns to come.
//
// Weights lie transposed, one column's values side by side, so that a lane is a row: rows do not
// depend on each other.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qwodel {

// Columns [0, columns) of a block for `rows` rows.
struct FeedbackBlock {
  float* weights = nullptr;  // [columns, rows]; in: updated by earlier blocks; out: unspecified
  float* errors = nullptr;   // [columns, rows]: (weight - decoded) / upper[i, i]
  std::uint8_t* codes = nullptr;  // [columns, rows]
  const float* upper = nullptr;  // rows of the factor of the inverse Hessian, `upper_stride` apart;
                                 // upper[i * upper_stride + j] couples columns i and j of the block
  std::size_t upper_stride = 0;
  std::size_t columns = 0;
  std::size_t rows = 0;  // a multiple of kFeedbackRows
  unsigned bits = 4;
};

inline constexpr std::size_t kFeedbackRows = 16;

// Rounds all columns to groups: scales[i], zeros[i] point to `rows` values for column i.
void feed_back_groups(const FeedbackBlock& block, const float* const* scales,
                      const float* const* zeros);

}  // namespace qwodel
