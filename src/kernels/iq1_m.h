// The search of IQ1_M: parts of 16 values at levels scale * {-1, 0, 1} +- scale / 8, the sign of
// the shift chosen for each eight.
#pragma once

#include <cstddef>

#include "kernels/ternary_codebook.h"

namespace qwodel {

// Fits `count` super-blocks of 256 values from number `first` on, `step` and `level` included.
// REQUIRES: rows.block_size is 256.
void fit_iq1_m(const BlockRows& rows, std::size_t first, std::size_t count,
               const TernaryCodebook& codebook, TernaryFit* fits);

}  // namespace qwodel
