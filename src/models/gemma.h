// Gemma 1, 2 and the text part of Gemma 3.
#pragma once

#include <span>

#include "models/registry.h"

namespace qwodel {

std::span<const ModelClass> gemma_classes();

}  // namespace qwodel
