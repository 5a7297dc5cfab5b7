// Estimates with confidence intervals (95 %): scored tokens count as independent draws, as in
// llama-perplexity's errors.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace qwodel {

inline constexpr double kNormal95 = 1.959963984540054;  // two-sided quantile of the normal

struct Estimate {
  double value = 0;
  double low = 0;
  double high = 0;
};

struct Mean {
  double value = 0;
  double error = 0;  // standard error; 0 below two values

  Estimate estimate() const;
};

// Sums in order. The error is sqrt((mean of squares - square of mean) / (n - 1)).
Mean mean_of(std::span<const double> values);

// Quantile q of sorted values, interpolated between neighbours; the interval is between order
// statistics n q -+ 1.96 sqrt(n q (1 - q)). REQUIRES: not empty, 0 <= q <= 1.
Estimate quantile(std::span<const double> sorted, double q);

// Wilson's interval of a share of `trials`. REQUIRES: trials > 0.
Estimate share(std::uint64_t successes, std::uint64_t trials);

// Of e^x.
Estimate exponential(const Estimate& x);

}  // namespace qwodel
