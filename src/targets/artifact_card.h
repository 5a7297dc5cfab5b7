// README.md of a quantized directory: front matter for the hub, and what was done for people.
#pragma once

#include <string>

#include "formats/checkpoint.h"
#include "targets/linear_format.h"

namespace qwodel {

// Licence and language are those of the source's README.md, where it has any.
std::string artifact_card(const Checkpoint& source, const LinearArtifact& artifact,
                          const Json& quantization_config);

}  // namespace qwodel
