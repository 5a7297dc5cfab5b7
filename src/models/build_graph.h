// From a ModelSpec to the graph of its computation.
#pragma once

#include "graph/graph.h"
#include "models/model_spec.h"

namespace qwodel {

// Reads ARCH.* metadata and the tensors that there are (a bias, a q/k norm, a fused projection or a
// shared expert is in the graph when its tensor is in the spec). Throws FormatNotSupportedError for
// an architecture without a graph, ValidationError for missing or contradictory metadata or shapes.
Graph build_graph(const ModelSpec& spec);

}  // namespace qwodel
