// How the numbers of a Core ML package's weights are chosen: by their own range, by least error
// under the importance of their inputs, or with GPTQ's error feedback.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "calibrate/importance_matrix.h"
#include "calibrate/statistics.h"
#include "graph/graph.h"
#include "methods/hessian.h"
#include "targets/coreml/weight_encoder.h"
#include "targets/coreml/weight_file.h"

namespace qwodel {

// What is known, of which at most one of the first two; both may be null.
struct CoremlEvidence {
  const StatisticsFile* statistics = nullptr;
  const ImportanceMatrix* importance = nullptr;
  bool search = false;
  bool feed_back = false;  // REQUIRES: statistics with second moments
};

struct CoremlFit {
  std::vector<WeightFit> fits;       // of each stored weight
  std::vector<std::string> methods;  // the same, for reports
  // Input of the statistics -> stored weights that read it and are quantized with feedback.
  std::map<std::size_t, std::vector<std::size_t>> feedback;
};

CoremlFit fit_coreml_weights(const std::vector<StoredWeight>& weights, const Graph& graph,
                             const CoremlEvidence& evidence);

// The factor for the weights that read an input. Throws QuantizationError as factorize_hessian().
HessianFactor factor_of_input(const StatisticsFile& statistics, std::size_t input);

}  // namespace qwodel
