// GPTQ into encodings of scaled blocks (GGUF's), followed by a descent in everything a block holds.
//
// Columns go in their natural order, because a block's parameters belong to neighbouring columns.
// Parameters are chosen for the weights as errors before them have left them (Frantar et al., arXiv
// 2210.17323, section 3.3), each group's among several by the loss its columns leave when they are
// rounded one after the other. Then levels, group codes and block scales are changed one at a time
// while the loss e H e^T falls (coordinate descent as in Behdin et al., "QuantEase", arXiv
// 2309.01885, with the parameters included).
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "codecs/scalar_layout.h"
#include "core/matrix.h"
#include "methods/hessian.h"

namespace qwodel {

// What the passes need of the inputs of a linear.
struct BlockHessian {
  HessianFactor factor;        // natural order
  std::vector<float> hessian;  // damped [d, d]
  std::vector<float> pivots;   // the factor's diagonal; of dead columns as if only damped

  std::size_t size() const { return factor.size(); }
};

struct BlockFeedbackOptions {
  // Shares of the diagonal that are added to it. Feedback wants much: it takes columns to come for
  // free, and with little damping asks of unimportant ones what their blocks cannot hold.
  double feedback_damp = 1;
  double descent_damp = 0.3;
  int sweeps = 2;  // of the descent over all columns; 0: none
  int rounds = 1;  // of a sweep within each chunk of columns
};

// Throws as factorize_hessian.
BlockHessian make_block_hessian(ConstMatrixView gram, const BlockFeedbackOptions& options,
                                const std::string& name);

// Encodes weights [rows, in_features] into `out`, rows of whole blocks. Values must be finite.
// Thread-safe; rows do not depend on each other, so any split of a matrix gives the same bytes.
void feed_back_blocks(ConstMatrixView weights, const BlockHessian& hessian,
                      const ScalarLayout& layout, const BlockFeedbackOptions& options,
                      std::byte* out);

// sum over rows of e H e^T, e = weights - decoded, without damping if `matrix` is a Gram matrix.
double quadratic_error(ConstMatrixView weights, ConstMatrixView decoded, ConstMatrixView matrix);

}  // namespace qwodel
