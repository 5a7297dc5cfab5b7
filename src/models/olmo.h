// OLMo and OLMo 2.
#pragma once

#include <span>

#include "models/registry.h"

namespace qwodel {

std::span<const ModelClass> olmo_classes();

}  // namespace qwodel
