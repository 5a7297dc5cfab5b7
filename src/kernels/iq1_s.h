// The search of IQ1_S: parts of 32 values at levels scale * {-1, 0, 1} +- scale / 8.
#pragma once

#include <cstddef>

#include "kernels/ternary_codebook.h"

namespace qwodel {

// Fits `count` super-blocks of 256 values from number `first` on. REQUIRES: rows.block_size is 256;
// rows.importance is not null.
void fit_iq1_s(const BlockRows& rows, std::size_t first, std::size_t count,
               const TernaryCodebook& codebook, TernaryFit* fits);

// Eight values at a time: values[8 * g + i] = scale[g] * (level i of points[g] - 1 + shift[g]), g
// in 0 ... groups - 1, any number.
void decode_ternary_points(const std::uint16_t* points, const float* scale, const float* shift,
                           std::size_t groups, float* values);

}  // namespace qwodel
