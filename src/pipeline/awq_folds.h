// Where AWQ's scales go: columns of linears are multiplied, and the norm or the linear before them
// is divided, so that the model's function stays the same.
//
// Which weights these are comes from the graph's edges (graph/edges.h); the scales from
// methods/awq.h.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/statistics.h"
#include "pipeline/linear_quantizer.h"

namespace qwodel {

// One group of linears that got scales.
struct AwqFold {
  std::string reader;    // GGUF name of the first weight that reads the value
  std::string absorber;  // of the weight that took the inverse
  double ratio = 0;
  bool duo = false;
  double loss_before = 0;  // of the outputs, in no unit: only the ratio of both says something
  double loss_after = 0;

  // What it changed, nothing when no scales were better.
  std::size_t stage = 0;                     // of the graph
  std::vector<std::size_t> scaled = {};      // linears of the plan whose columns were multiplied
  std::optional<std::size_t> divided = {};   // that whose rows were divided
  std::vector<std::uint32_t> replaced = {};  // other sources with new values

  // Found by check_folds (fold_check.h).
  double change = 0;     // of what the layer gives
  bool refused = false;  // too much: the scales were taken back
};

struct AwqFolds {
  // By index into the plan; an empty vector is all ones.
  std::vector<std::vector<float>> columns;  // [in_features], multiply
  std::vector<std::vector<float>> rows;     // [out_features], divide

  // By index into ModelSpec::sources, with their new values: norms, biases, routers.
  std::map<std::uint32_t, std::vector<float>> replaced;

  std::vector<AwqFold> folds;

  // By index into the plan; into folds: the one whose search the linear was part of.
  std::vector<std::optional<std::size_t>> fold_of;
};

// Searches scales for every input of the plan's linears that has an absorber and statistics. What a
// norm is rounded to when it is stored is made up for by the columns. A fold that would change the
// model's function is left out (fold_check.h). Throws QuantizationError for weights that are not
// finite, Error (interrupted).
AwqFolds find_awq_folds(const LinearTask& task, const StatisticsFile& statistics);

}  // namespace qwodel
