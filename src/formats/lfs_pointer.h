// Files that git left behind instead of the real ones.
#pragma once

#include "io/mapped_file.h"

namespace qwodel {

// Throws ValidationError when the file is a Git LFS pointer: the model was cloned without its
// weights.
void refuse_lfs_pointer(const MappedFile& file);

}  // namespace qwodel
