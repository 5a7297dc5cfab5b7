// Error feedback into blocks whose values stand alone: each is a level of its group's scale, less
// the group's minimum. The inner loops of methods/block_feedback.h.
//
// Weights lie transposed, one column's values side by side, so that a lane is a row: rows do not
// depend on each other. No sum is fused or reordered: all targets give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace qwodel {

// x = (scale * scale_code) * level - minimum * minimum_code, a scale_code and minimum_code per
// group, a scale and a minimum (halves) per block.
struct ScalarRecipe {
  std::size_t block = 256;                   // values that share scale and minimum
  std::size_t group = 32;                    // values that share their codes: 16 or 32
  int lowest = 0, highest = 15;              // levels are the integers between,
  std::span<const std::int8_t> table{};      // or those of a rising table of sixteen
  int lowest_scale = 0, highest_scale = 63;  // both 1: scales have no codes
  int highest_minimum = 63;                  // 0: there is no minimum. 1: it has no code
};

inline constexpr std::size_t kScalarRows = 16;  // rows are a multiple of it
inline constexpr std::size_t kScalarColumns = 256;
inline constexpr std::size_t kScalarGroups = kScalarColumns / 16;

// Whole blocks of at most kScalarColumns columns in all. Arrays of column, group or block are a run
// of `rows` values each.
struct ScalarChunk {
  std::size_t columns = 0;
  std::size_t rows = 0;

  float* levels = nullptr;         // [columns, rows]
  float* scale_codes = nullptr;    // [groups, rows]
  float* minimum_codes = nullptr;  // [groups, rows]
  float* scales = nullptr;         // [blocks, rows]
  float* minimums = nullptr;       // [blocks, rows]
};

// Chooses parameters and levels of a chunk, column after column. `weights` [columns, rows] have the
// errors of all earlier chunks made up for, and are spent; `errors` [columns, rows] become (weight
// - decoded) / pivots[i]. upper[i * stride + j] couples columns i < j of the chunk; pivots
// [columns] are its diagonal.
struct ChunkFeedback {
  float* weights = nullptr;
  float* errors = nullptr;
  const float* upper = nullptr;
  std::size_t stride = 0;
  const float* pivots = nullptr;
};
void feed_back_chunk(const ScalarRecipe& recipe, const ChunkFeedback& feedback,
                     const ScalarChunk& chunk);

// Lowers e H e^T, e = weights - decoded of all columns, by changing one level, one group's codes or
// one block's scale at a time; never raises it beyond rounding. `errors` and `gradient` (H e) are
// [columns, rows] of the chunk, errors are kept up; hessian[i * stride + j] is its diagonal block.
struct ChunkDescent {
  float* errors = nullptr;
  const float* gradient = nullptr;
  const float* hessian = nullptr;
  std::size_t stride = 0;
  int rounds = 1;
};
void descend_chunk(const ScalarRecipe& recipe, const ChunkDescent& descent,
                   const ScalarChunk& chunk);

// What levels decode to: values [columns, rows].
void decode_chunk(const ScalarRecipe& recipe, const ScalarChunk& chunk, float* values);

}  // namespace qwodel
