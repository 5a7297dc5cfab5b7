// --tensor-type for Hugging Face directories: linears of other types than the target's.
#pragma once

#include <string>
#include <vector>

#include "plan/linear_plan.h"
#include "targets/target.h"

namespace qwodel {

// "REGEX=TYPE": the first whose pattern is found in a linear's tensor name decides. TYPE is a
// format of the target's backend ("W8A16", "FP8"), or "none" for a linear that stays as it is.
// Throws Error (usage) for a text that is no such pair, FormatNotSupportedError for a backend whose
// files hold one type.
void override_schemes(const std::vector<std::string>& texts, const Target& target,
                      LinearPlan& plan);

}  // namespace qwodel
