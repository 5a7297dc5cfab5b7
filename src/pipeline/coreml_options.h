// What a user asks of a Core ML package, checked against the model.
#pragma once

#include <cstdint>
#include <optional>

#include "graph/graph.h"
#include "qwodel/quantize.h"
#include "targets/coreml/coreml_options.h"

namespace qwodel {

// `pooling_type` is GGUF's number for what the checkpoint says of its pooling, if it says anything.
// Throws FormatNotSupportedError for a version Qwodel does not know, a state before iOS 18, more
// context than the model has, or a pooling that has no form; Error (usage) for options that
// contradict each other.
CoremlOptions coreml_options(const CoremlPackageOptions& options, const Graph& graph,
                             std::optional<std::uint64_t> pooling_type);

}  // namespace qwodel
