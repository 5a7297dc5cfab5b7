// The formats of GPTQ artifacts, as users name them.
#pragma once

#include <string>
#include <vector>

#include "targets/target.h"

namespace qwodel {

std::vector<Format> gptq_formats();

Target parse_gptq_format(const std::string& format);

}  // namespace qwodel
