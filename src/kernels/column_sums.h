// Sums down the columns of a matrix: what calibration knows of a linear's input.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/matrix.h"

namespace qwodel {

// Sums of one run of rows are single precision, in row order; every kRowsPerRun rows they are added
// in double. The same result on every target.
inline constexpr std::size_t kRowsPerRun = 256;

// Adds, for every column of `rows`: |x| to sum_abs, x^2 to sum_squares, and raises max_abs. Arrays
// of rows.cols values.
void add_column_sums(ConstMatrixView rows, double* sum_abs, double* sum_squares, float* max_abs);

}  // namespace qwodel
