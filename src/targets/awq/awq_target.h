// The formats of AWQ artifacts, as users name them.
#pragma once

#include <string>
#include <vector>

#include "targets/target.h"

namespace qwodel {

std::vector<Format> awq_formats();

Target parse_awq_format(const std::string& format);

}  // namespace qwodel
