// How the numbers of a Core ML package's weights are chosen: by their own range, by least error
// under the importance of their inputs, or with GPTQ's error feedback.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/importance_matrix.h"
#include "calibrate/statistics.h"
#include "graph/graph.h"
#include "methods/hessian.h"
#include "pipeline/tensor_folds.h"
#include "targets/coreml/weight_encoder.h"
#include "targets/coreml/weight_file.h"

namespace qwodel {

// What is known, of which at most one of the first two; all may be null.
struct CoremlEvidence {
  const StatisticsFile* statistics = nullptr;
  const ImportanceMatrix* importance = nullptr;
  const TensorFolds* folds = nullptr;  // of the statistics: the weights are scaled
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

// Integers like those of a scheme, under which AWQ's scales are searched for it; nothing for
// halves. A palette counts as integers of as many bits in one range per row.
std::optional<GroupIntScheme> scheme_like(const WeightScheme& scheme);

// The factor for the weights that read an input. REQUIRES: evidence.statistics. Throws
// QuantizationError as factorize_hessian().
HessianFactor factor_of_input(const CoremlEvidence& evidence, std::size_t input);

}  // namespace qwodel
