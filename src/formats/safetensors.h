// The safetensors container: a JSON header, then the tensors' bytes.
//
// Layout and rules: safetensors README ("Format") and its validation in the reference reader.
#pragma once

#include <vector>

#include "formats/tensor_info.h"
#include "io/mapped_file.h"

namespace qwodel {

// The tensors of one file, sorted by name as the reference reader lists them; spans lie in `file`.
// The data of all tensors tiles the rest of the file: no gap, no overlap, nothing behind the last.
// Throws ValidationError for a damaged file, FormatNotSupportedError for an element type that the
// format has and Qwodel cannot decode (F4, F6, F8_E8M0, C64).
std::vector<TensorInfo> read_safetensors(const MappedFile& file);

}  // namespace qwodel
