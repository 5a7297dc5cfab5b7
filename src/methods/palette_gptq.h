// GPTQ with palettes: columns are rounded to the entries of their rows' tables one after the other,
// and each error is made up for by the columns that are still free.
#pragma once

#include "codecs/palette.h"
#include "core/matrix.h"
#include "methods/hessian.h"

namespace qwodel {

// Quantizes weights [rows, cols] to the tables that stand in `out`, fit on the same weights; writes
// codes, and what they decode to over `weights`. Weights of dead columns are taken as 0. Same codes
// for any number of threads. REQUIRES: the factor is of `cols` columns.
void gptq(MatrixView weights, const HessianFactor& factor, PaletteMatrix& out);

}  // namespace qwodel
