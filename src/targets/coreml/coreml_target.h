// The "coreml" backend: encodings of weights in Core ML packages.
#pragma once

#include <string>
#include <vector>

#include "targets/target.h"

namespace qwodel {

std::vector<Format> coreml_formats();
Target parse_coreml_format(const std::string& format);

// The scheme with another granularity: per_tensor, per_channel, per_block:N (bN),
// per_grouped_channel:N (gN). Empty: as it is. Throws Error (usage).
WeightScheme with_granularity(WeightScheme scheme, const std::string& granularity);

}  // namespace qwodel
