// The formats of compressed-tensors artifacts, as users name them.
#pragma once

#include <string>
#include <vector>

#include "targets/target.h"

namespace qwodel {

std::vector<Format> compressed_tensors_formats();

Target parse_compressed_tensors_format(const std::string& format);

}  // namespace qwodel
