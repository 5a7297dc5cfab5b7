// A matrix that is stored as [columns, rows].
#pragma once

#include <memory>

#include "sources/weights.h"

namespace qwodel {

// `stored` as [columns, rows], read as [rows, columns]. It outlives the result. REQUIRES: a matrix.
std::unique_ptr<WeightTensor> make_transposed_tensor(const WeightTensor& stored);

}  // namespace qwodel
