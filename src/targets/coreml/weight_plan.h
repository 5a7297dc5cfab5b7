// How each weight of a graph is stored in a Core ML package.
#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"
#include "targets/coreml/coreml_options.h"
#include "targets/coreml/weight_file.h"

namespace qwodel {

struct WeightChoice {
  WeightScheme scheme;
  std::string reason;
};

// For each weight: the asked scheme for matrices that are multiplied or looked up (an embedding and
// a head that are one weight stay one), the nearest that fits where its groups or blocks do not
// divide the shape, half precision for the rest. Throws FormatNotSupportedError when the version
// has no such encoding, or a weight of it would not fit in what Core ML reads.
std::vector<WeightChoice> plan_weights(const Graph& graph, const WeightScheme& scheme,
                                       const MilVersion& version);

}  // namespace qwodel
