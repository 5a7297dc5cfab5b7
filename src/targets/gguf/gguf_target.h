// The formats of GGUF artifacts, as users name them.
#pragma once

#include <string>
#include <vector>

#include "targets/target.h"

namespace qwodel {

std::vector<Format> gguf_formats();

Target parse_gguf_format(const std::string& format);

}  // namespace qwodel
