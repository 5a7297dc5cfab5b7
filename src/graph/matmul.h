// Matrix products on the calling thread, by oneDNN.
//
// Factors are f32, or bf16 stored as its 16 bits; sums and results are f32. Sizes of 0 give zeros
// or nothing.
#pragma once

#include <cstdint>

#include "core/matrix.h"

namespace qwodel {

// True when the processor multiplies bf16 faster than f32.
bool has_fast_bf16();

// out = a b^T for row-major a [m, k], b [n, k], out [m, n]; strides are free.
void multiply_transposed(Matrix<const float> a, Matrix<const float> b, MatrixView out);
void multiply_transposed(Matrix<const std::uint16_t> a, Matrix<const std::uint16_t> b,
                         MatrixView out);

// out = a b for b [k, n].
void multiply(Matrix<const float> a, Matrix<const float> b, MatrixView out);
void multiply(Matrix<const std::uint16_t> a, Matrix<const std::uint16_t> b, MatrixView out);

}  // namespace qwodel
