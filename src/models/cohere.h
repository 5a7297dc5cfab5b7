// Command-R and Aya 23.
#pragma once

#include <span>

#include "models/registry.h"

namespace qwodel {

std::span<const ModelClass> cohere_classes();

}  // namespace qwodel
