// Checkpoints written by torch.save: a zip archive with a pickle of the dictionary and one entry of
// bytes per storage.
//
// Layout: torch/serialization.py and torch/_utils.py of PyTorch (the "zipfile" format, since 1.6).
#pragma once

#include <cstddef>
#include <vector>

#include "formats/tensor_info.h"
#include "io/mapped_file.h"

namespace qwodel {

struct TorchFile {
  std::vector<TensorInfo> tensors;  // as the dictionary lists them; spans lie in the file
  std::vector<std::vector<std::byte>>
      copies;  // or here, for tensors that were views of another order
};

// Throws ValidationError for a damaged file, FormatNotSupportedError for anything but tensors in it
// (any other Python object, which is named) and for files from before torch 1.6.
TorchFile read_torch_file(const MappedFile& file);

}  // namespace qwodel
