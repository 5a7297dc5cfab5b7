// Phi-2, Phi-3 and Phi-4.
#pragma once

#include <span>

#include "models/registry.h"

namespace qwodel {

std::span<const ModelClass> phi_classes();

}  // namespace qwodel
