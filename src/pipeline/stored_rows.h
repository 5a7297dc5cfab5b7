// The values of a checkpoint that a weight of a Core ML package stands for.
#pragma once

#include <cstdint>
#include <span>

#include "sources/model_tensor_reader.h"
#include "targets/coreml/weight_file.h"

namespace qwodel {

// Rows of the stored weight from `row` on, in its order. The pages behind them are given back.
// REQUIRES: whole rows that the weight has.
void read_stored_rows(const StoredWeight& weight, const ModelTensorReader& reader,
                      std::uint64_t row, std::span<float> values);

}  // namespace qwodel
