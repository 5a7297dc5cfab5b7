// Granite, dense and mixture of experts: Llama with multipliers.
#pragma once

#include <span>

#include "models/registry.h"

namespace qwodel {

std::span<const ModelClass> granite_classes();

}  // namespace qwodel
