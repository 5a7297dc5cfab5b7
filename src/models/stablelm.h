// StableLM 1, 2 and Zephyr.
#pragma once

#include <span>

#include "models/registry.h"

namespace qwodel {

std::span<const ModelClass> stablelm_classes();

}  // namespace qwodel
