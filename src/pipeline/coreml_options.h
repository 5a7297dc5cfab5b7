// What a user asks of a Core ML package, checked against the model.
#pragma once

#include "graph/graph.h"
#include "qwodel/quantize.h"
#include "targets/coreml/coreml_options.h"

namespace qwodel {

// Throws FormatNotSupportedError for a version Qwodel does not know, a state before iOS 18, or more
// context than the model has; Error (usage) for options that contradict each other.
CoremlOptions coreml_options(const CoremlPackageOptions& options, const Graph& graph);

}  // namespace qwodel
