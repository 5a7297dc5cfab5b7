// Blocks of 32 values whose parameters are searched under importance weights: Q4_0, Q5_0
// (symmetric) and Q4_1, Q5_1 (affine).
#pragma once

#include <cstddef>

#include "kernels/block_group.h"
#include "kernels/round_blocks.h"

namespace qwodel {

// Blocks first ... first + count - 1 of `rows`, which has importance. mean_squares [rows.rows]: the
// mean of x^2 over each row. Meaning of `levels`: as in round_symmetric and round_affine.
void search_symmetric(const BlockRows& rows, const float* mean_squares, std::size_t first,
                      std::size_t count, int levels, SmallBlock* out);
void search_affine(const BlockRows& rows, const float* mean_squares, std::size_t first,
                   std::size_t count, int levels, SmallBlock* out);

// out[r] = sum of x^2 over row r, added in order, divided by cols. REQUIRES: cols % 4 == 0.
void mean_squares_of_rows(const float* values, std::size_t rows, std::size_t cols, float* out);

}  // namespace qwodel
