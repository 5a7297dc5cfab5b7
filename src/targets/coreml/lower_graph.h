// A graph as a Core ML model: program, inputs, outputs, states and what its weight file holds.
#pragma once

#include <string>
#include <vector>

#include "formats/mlpackage/model.pb.h"
#include "graph/graph.h"
#include "graph/graph_weights.h"
#include "targets/coreml/compression.h"
#include "targets/coreml/coreml_options.h"
#include "targets/coreml/weight_file.h"

namespace qwodel {

struct LoweredModel {
  coreml::Model model;
  WeightFile file;
};

// `schemes` has an entry for each weight of the graph: how it is stored where it is multiplied or
// looked up. Reads the values of vectors of a few values only. Throws FormatNotSupportedError for
// an operation that has no form in MIL (experts chosen per token), or none in the asked version.
LoweredModel lower_graph(const Graph& graph, const GraphWeights& weights,
                         const CoremlOptions& options, const std::vector<WeightScheme>& schemes);

}  // namespace qwodel
