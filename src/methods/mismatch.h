// What a quantized model reads is not what the original reads: weights that are quantized later can
// make up for it.
//
// With X what the quantized model gives a linear and Y what the original gives it, rows of outputs
// come closest to the original's, Y W^T, not with W but with
//
//   W + W D H^-1,  D = (Y - X)^T X,  H = X^T X,
//
// the regression of Y W^T on X: for any Q, |Y W^T - X Q^T|^2 is a constant plus the loss that GPTQ
// minimizes, with these weights in place of W. It is the aim of the asymmetric calibration of GPTAQ
// (Li et al., arXiv 2504.02692), which spreads it over the columns as they are rounded.
//
// D H^-1 fits the calibration tokens, their chance included; a strength below 1 shrinks it.
#pragma once

#include <vector>

#include "core/matrix.h"
#include "methods/hessian.h"

namespace qwodel {

// D H^-1 [d, d], both in the checkpoint's order of columns; H as the factor has it, damped. `cross`
// is D with the factor of the Hessian's rows (mean, not sum).
std::vector<float> mismatch(ConstMatrixView cross, const HessianFactor& factor);

// weights [out_features, d] += strength * weights * mismatch.
void compensate(MatrixView weights, ConstMatrixView mismatch, float strength);

// The same without a matrix [d, d] in between, which takes d^3 operations: for weights that have
// fewer rows than columns. `cross` as above.
void compensate_few(MatrixView weights, ConstMatrixView cross, const HessianFactor& factor,
                    float strength);

}  // namespace qwodel
