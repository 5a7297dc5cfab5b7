// Perplexity and divergence of scored tokens, with confidence intervals.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "eval/interval.h"
#include "eval/score.h"

namespace qwodel {

struct PerplexitySummary {
  Estimate perplexity;
  double error = 0;  // standard error as llama-perplexity prints it
};

PerplexitySummary summarize(std::span<const double> nll);

inline constexpr std::array kDivergencePercents = {0.1,  1.0,  5.0,  10.0, 25.0, 50.0,
                                                   75.0, 90.0, 95.0, 99.0, 99.9};

struct DivergenceSummary {
  Estimate mean;
  double mean_error = 0;
  std::array<Estimate, kDivergencePercents.size()> percentiles{};
  double max = 0;  // of these tokens; a sample bounds no maximum, so it has no interval
  Estimate same_top;
  Estimate perplexity_ratio;           // model / base, from paired differences
  double mean_probability_change = 0;  // of the target: model - base
  double rms_probability_change = 0;
};

// REQUIRES: not empty.
DivergenceSummary summarize(std::span<const TokenComparison> tokens);

// Half of the interval's width relative to the value; infinity where the value is 0.
double relative_half_width(const Estimate& estimate);

}  // namespace qwodel
