#include "pipeline/coreml_fit.h"

#include <algorithm>
#include <optional>

#include "methods/second_moments.h"

namespace qwodel {
namespace {

// Fewer tokens than this part of the columns say too little about their correlation.
constexpr double kEnoughTokens = 0.25;

// The input of a weight that is one whole matrix; nothing for one that no linear reads.
std::optional<std::size_t> input_of(const StatisticsFile& statistics, const std::string& name,
                                    std::uint64_t columns) {
  const auto input = statistics.find(name);
  if (!input) return std::nullopt;
  const StatisticsInput& found = statistics.inputs()[*input];
  return found.parts == 1 && found.width == columns ? input : std::nullopt;
}

std::vector<float> mean_squares(const InputSums& sums) {
  std::vector<float> values;
  if (sums.counts[0] == 0) return values;
  for (const double sum : sums.sum_squares) {
    values.push_back(static_cast<float>(sum / static_cast<double>(sums.counts[0])));
  }
  return values;
}

class Fitting {
 public:
  Fitting(const std::vector<StoredWeight>& weights, const Graph& graph,
          const CoremlEvidence& evidence)
      : weights_(weights), graph_(graph), evidence_(evidence) {}

  CoremlFit run() {
    for (std::size_t i = 0; i < weights_.size(); ++i) add(i);
    return std::move(fit_);
  }

 private:
  const std::string& name_of_weight(std::size_t i) const {
    return graph_.weights[weights_[i].weight].name;
  }

  void add(std::size_t i) {
    const StoredWeight& weight = weights_[i];
    const bool palette = weight.scheme.form == WeightForm::palette;
    WeightFit fit{.search = evidence_.search, .importance = {}};
    std::string method = palette ? "kmeans" : evidence_.search ? "search" : "rtn";
    if (weight.scheme.form == WeightForm::float16) {
      method = "convert";
    } else if (evidence_.statistics != nullptr) {
      use_statistics(i, fit, method);
      if (evidence_.folds != nullptr && evidence_.folds->scales(name_of_weight(i))) {
        method = "awq+" + method;
      }
    } else if (evidence_.importance != nullptr) {
      use_importance(i, fit, method);
    }
    fit_.fits.push_back(std::move(fit));
    fit_.methods.push_back(std::move(method));
  }

  void use_statistics(std::size_t i, WeightFit& fit, std::string& method) {
    const StoredWeight& weight = weights_[i];
    const auto input = input_of(*evidence_.statistics, name_of_weight(i), weight.columns);
    if (!input) return;
    const InputSums sums = evidence_.statistics->read(*input, false);
    const bool enough =
        static_cast<double>(sums.counts[0]) >= kEnoughTokens * static_cast<double>(weight.columns);
    const WeightEncoder encoder(weight.scheme, {}, weight.rows, weight.columns);
    if (evidence_.feed_back && enough && encoder.can_feed_back()) {
      fit_.feedback[*input].push_back(i);
      method = "gptq";
      return;
    }
    fit.importance = mean_squares(sums);
    if (evidence_.folds != nullptr && !fit.importance.empty()) {
      evidence_.folds->divide(*input, fit.importance.size(), fit.importance);
    }
    if (!fit.importance.empty()) method += "+importance";
  }

  void use_importance(std::size_t i, WeightFit& fit, std::string& method) const {
    const StoredWeight& weight = weights_[i];
    const auto entry = evidence_.importance->entries.find(graph_.weights[weight.weight].name);
    if (entry == evidence_.importance->entries.end()) return;
    if (entry->second.size() != weight.columns) return;
    fit.importance = entry->second;
    method += "+importance";
  }

  const std::vector<StoredWeight>& weights_;
  const Graph& graph_;
  const CoremlEvidence& evidence_;
  CoremlFit fit_;
};

}  // namespace

CoremlFit fit_coreml_weights(const std::vector<StoredWeight>& weights, const Graph& graph,
                             const CoremlEvidence& evidence) {
  return Fitting(weights, graph, evidence).run();
}

std::optional<GroupIntScheme> scheme_like(const WeightScheme& scheme) {
  if (scheme.form == WeightForm::float16) return std::nullopt;
  return GroupIntScheme{.bits = std::max(scheme.bits, 2u),
                        .group_size = scheme.block,
                        .symmetric = scheme.form == WeightForm::palette || scheme.symmetric};
}

HessianFactor factor_of_input(const CoremlEvidence& evidence, std::size_t input) {
  const StatisticsFile& statistics = *evidence.statistics;
  const StatisticsInput& described = statistics.inputs()[input];
  SecondMoments moments =
      second_moments(statistics.read(input, true), 0, static_cast<std::size_t>(described.width));
  if (evidence.folds != nullptr) evidence.folds->divide(input, 0, moments);
  return factorize_hessian(moments.matrix(), {}, described.weights.front());
}

}  // namespace qwodel
