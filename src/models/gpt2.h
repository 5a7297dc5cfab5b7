// GPT-2 and StarCoder 2.
#pragma once

#include <span>

#include "models/registry.h"

namespace qwodel {

std::span<const ModelClass> gpt2_classes();

}  // namespace qwodel
