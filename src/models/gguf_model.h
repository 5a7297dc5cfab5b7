// A model that is a GGUF already: names, shapes and metadata are taken as they are.
#pragma once

#include <span>
#include <vector>

#include "formats/checkpoint.h"
#include "models/model_spec.h"

namespace qwodel {

// REQUIRES: checkpoint.gguf_metadata(). Throws ValidationError when it names no architecture.
ModelSpec describe_gguf(const Checkpoint& checkpoint);

}  // namespace qwodel
