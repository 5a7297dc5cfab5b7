// GPTQ: columns are rounded one after the other, and each error is made up for by the columns that
// are still free (Frantar et al., arXiv 2210.17323).
#pragma once

#include <span>

#include "codecs/group_int.h"
#include "core/matrix.h"
#include "methods/hessian.h"

namespace qwodel {

// Quantizes weights [out_features, in_features] whose scales and zero points stand in `out` (fit on
// the original weights: "static groups"; its group_index counts); writes codes, and what they
// decode to over `weights`. Weights of dead columns are taken as 0. Same codes for any number of
// threads. Throws QuantizationError when a value is not finite.
void gptq(MatrixView weights, const HessianFactor& factor, GroupIntMatrix& out);

// sum over rows of e G e^T, e = decoded - weights: the squared error of the linear's outputs.
double output_error(ConstMatrixView weights, const GroupIntMatrix& quantized, ConstMatrixView gram);

}  // namespace qwodel
