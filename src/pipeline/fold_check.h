// Whether AWQ's scales left the model's function as it is. Which weights can take scales follows
// from the graph; here every layer runs in single precision on a few tokens, as it was and with its
// scales.
#pragma once

#include <string>
#include <vector>

#include "pipeline/awq_folds.h"
#include "pipeline/linear_quantizer.h"

namespace qwodel {

// Of what a layer adds to the hidden state, root of the mean square over tokens. Rounding alone
// gives some 1e-6.
inline constexpr double kLargestFoldChange = 1e-3;

// Measures AwqFold::change and takes folds back that change more than kLargestFoldChange
// (AwqFold::refused). Experts that none of the tokens is sent to are not compared. Throws
// ValidationError when the model's own activations are not finite, Error (interrupted).
void check_folds(const LinearTask& task, AwqFolds& folds);

// One sentence for every fold that was refused.
std::vector<std::string> fold_warnings(const AwqFolds& folds);

}  // namespace qwodel
