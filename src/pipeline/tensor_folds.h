// AWQ's scales in an artifact that has the model's own tensors: columns of linears are multiplied
// before they are encoded, and the norm or the linear before them is divided, whatever types they
// get.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "calibrate/statistics.h"
#include "graph/graph.h"
#include "methods/second_moments.h"
#include "pipeline/awq_folds.h"
#include "pipeline/fold_check.h"
#include "pipeline/linear_quantizer.h"
#include "pipeline/source_model.h"
#include "plan/linear_plan.h"
#include "qwodel/progress.h"
#include "sources/replaceable_weights.h"

namespace qwodel {

// Safe to ask from several threads.
class TensorFolds {
 public:
  // Integers like those a tensor of the spec, by its name, is rounded to; nothing: it is not
  // quantized.
  using SchemeOf = std::function<std::optional<GroupIntScheme>(const std::string& tensor)>;

  // Searches the scales under the groups and bits of each tensor, as the options say. Everything
  // outlives it. Throws QuantizationError for weights that are not finite, Error (interrupted).
  TensorFolds(const QuantizeOptions& options, const SourceModel& model, const Graph& graph,
              const SchemeOf& scheme_of, const StatisticsFile& statistics);
  TensorFolds(const TensorFolds&) = delete;
  TensorFolds& operator=(const TensorFolds&) = delete;

  // The model's tensors as the scales make them, and the same as weights of the graph.
  const std::vector<ModelTensorReader>& readers() const { return weights_.readers(); }
  const GraphWeights& weights() const { return weights_; }

  // Moments of an input of the statistics as it is before the scales; makes them those after.
  void divide(std::size_t input, std::size_t part, SecondMoments& moments) const;

  // The same for mean squares, `width` for each part of the input or once for all.
  void divide(std::size_t input, std::size_t width, std::vector<float>& mean_squares) const;

  // Whether columns of a tensor have scales other than 1.
  bool scales(const std::string& tensor) const { return scaled_tensors_.contains(tensor); }

  // One sentence for every fold that was refused.
  std::vector<std::string> warnings() const { return fold_warnings(folds_); }

 private:
  // Scales of the columns that read an input's part; null: they are all 1.
  const std::vector<float>* columns(std::size_t input, std::size_t part) const;

  const StatisticsFile& statistics_;
  LinearPlan linears_;
  std::optional<TokenSequences> block_tokens_;
  LinearTask task_;
  AwqFolds folds_;
  ReplaceableWeights weights_;
  std::set<std::string> scaled_tensors_;
  std::map<std::pair<std::size_t, std::size_t>, std::size_t> readers_of_;  // input, part -> linear
};

}  // namespace qwodel
