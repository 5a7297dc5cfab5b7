#include "eval/summary.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace qwodel {

PerplexitySummary summarize(std::span<const double> nll) {
  const Mean mean = mean_of(nll);
  const double perplexity = std::exp(mean.value);
  return {.perplexity = exponential(mean.estimate()), .error = perplexity * mean.error};
}

DivergenceSummary summarize(std::span<const TokenComparison> tokens) {
  std::vector<double> divergences;
  std::vector<double> differences;
  std::uint64_t same_top = 0;
  double change = 0;
  double squared_change = 0;
  for (const TokenComparison& token : tokens) {
    divergences.push_back(token.divergence);
    differences.push_back(token.nll - token.base_nll);
    same_top += token.same_top ? 1 : 0;
    const double difference = std::exp(-token.nll) - std::exp(-token.base_nll);
    change += difference;
    squared_change += difference * difference;
  }
  const auto count = static_cast<double>(tokens.size());
  DivergenceSummary summary;
  const Mean mean = mean_of(divergences);
  summary.mean = mean.estimate();
  summary.mean_error = mean.error;
  std::sort(divergences.begin(), divergences.end());
  for (std::size_t i = 0; i < kDivergencePercents.size(); ++i) {
    summary.percentiles[i] = quantile(divergences, kDivergencePercents[i] / 100);
  }
  summary.max = divergences.back();
  summary.same_top = share(same_top, tokens.size());
  summary.perplexity_ratio = exponential(mean_of(differences).estimate());
  summary.mean_probability_change = change / count;
  summary.rms_probability_change = std::sqrt(squared_change / count);
  return summary;
}

double relative_half_width(const Estimate& estimate) {
  if (estimate.value == 0) return std::numeric_limits<double>::infinity();
  return (estimate.high - estimate.low) / 2 / std::abs(estimate.value);
}

}  // namespace qwodel
