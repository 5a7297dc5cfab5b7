// Tensors of GGUF files whose values are stored in blocks.
#pragma once

#include <memory>

#include "sources/weights.h"

namespace qwodel {

// REQUIRES: the type has blocks. Throws FormatNotSupportedError when no codec decodes it.
std::unique_ptr<WeightTensor> make_block_tensor(const TensorInfo& tensor);

}  // namespace qwodel
