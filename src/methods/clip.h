// Clipping: the range of every group that gives the lowest error of the outputs.
//
// AWQ's second step (Lin et al., arXiv 2306.00978; AutoAWQ's search_best_clip), with the error that
// a group makes on all calibration tokens, e G e^T with G the group's block of X^T X, instead of
// the one on a sample of them.
#pragma once

#include "codecs/group_int.h"
#include "core/matrix.h"

namespace qwodel {

// `out` holds parameters of weights [out_features, in_features]; a group keeps them, or gets those
// of a range shrunk to between 1 and 0.5 when their error is lower. Writes codes, too. `gram`: X^T
// X [in_features, in_features], any common factor. Call it inside the threads it may use; the
// result does not depend on them.
void search_clipping(ConstMatrixView weights, ConstMatrixView gram, GroupIntMatrix& out);

}  // namespace qwodel
