// Which model statistics belong to.
#pragma once

#include <string>

#include "graph/graph.h"
#include "graph/graph_weights.h"

namespace qwodel {

// 32 hexadecimal digits that depend on the names and shapes of all weights and on values at 16
// places of each: cheap for any size, and different for another checkpoint, fine-tune or
// quantization of the same architecture.
std::string hash_of_model(const Graph& graph, const GraphWeights& weights);

}  // namespace qwodel
