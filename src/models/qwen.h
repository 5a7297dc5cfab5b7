// Qwen 2, 2.5 and 3, dense and mixture of experts.
#pragma once

#include <span>

#include "models/registry.h"

namespace qwodel {

std::span<const ModelClass> qwen_classes();

}  // namespace qwodel
