// Clipping: the range of every group that gives the lowest error of the outputs.
//
// AWQ's second step (Lin et al., arXiv 2306.00978; AutoAWQ's search_best_clip), with the error that
// a group makes on all calibration tokens, e G e^T with G the group's block of X^T X, instead of
// the one on a sample of them.
#pragma once

#include <cstdint>

#include "codecs/group_int.h"
#include "core/matrix.h"
#include "methods/group_moments.h"

namespace qwodel {

// How far the search goes: ranges are shrunk to between 1 and 0.5; then the scale and the zero
// point move from the best of them on their own.
enum class ClipSteps : std::uint8_t { shrink, refine };

// `out` holds parameters of weights [out_features, in_features]; a group keeps them, or gets those
// that are found when their error is lower. Writes codes, too. `moments` is of as many columns in
// groups of the same size. Call it inside the threads it may use; the result does not depend on
// them.
void search_clipping(ConstMatrixView weights, const GroupMoments& moments, ClipSteps steps,
                     GroupIntMatrix& out);

}  // namespace qwodel
