// A model's weights as AWQ's folds make them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "pipeline/awq_folds.h"
#include "pipeline/linear_quantizer.h"
#include "sources/replaceable_weights.h"

namespace qwodel {

// Multiplies columns and divides rows of values [first, first + values.size()) of a linear of the
// plan. `folds` may be empty.
void fold_values(const LinearTask& task, const AwqFolds& folds, std::size_t linear,
                 std::uint64_t first, std::span<float> values);

// Norms, biases and linears with scales: the model's function stays the same. Everything must
// outlive `weights`.
void fold_weights(const LinearTask& task, const AwqFolds& folds, ReplaceableWeights& weights);

}  // namespace qwodel
