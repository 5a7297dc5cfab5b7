#include "eval/interval.h"

#include <algorithm>
#include <cmath>

namespace qwodel {

Estimate Mean::estimate() const {
  return {value, value - kNormal95 * error, value + kNormal95 * error};
}

Mean mean_of(std::span<const double> values) {
  if (values.empty()) return {};
  const auto count = static_cast<double>(values.size());
  double sum = 0;
  for (const double value : values) sum += value;
  const double mean = sum / count;
  // Around the mean: the difference of large sums would lose small variances.
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  if (values.size() < 2) return {mean, 0};
  return {mean, std::sqrt(squares / count / (count - 1))};
}

Estimate quantile(std::span<const double> sorted, double q) {
  const auto count = static_cast<double>(sorted.size());
  const auto at = [&](double position) {
    position = std::clamp(position, 0.0, count - 1);
    const auto below = static_cast<std::size_t>(position);
    const std::size_t above = std::min(below + 1, sorted.size() - 1);
    const double part = position - static_cast<double>(below);
    return sorted[below] + part * (sorted[above] - sorted[below]);
  };
  const double half = kNormal95 * std::sqrt(count * q * (1 - q));
  return {at(q * (count - 1)), at(std::floor(count * q - half)), at(std::ceil(count * q + half))};
}

Estimate share(std::uint64_t successes, std::uint64_t trials) {
  const auto n = static_cast<double>(trials);
  const double p = static_cast<double>(successes) / n;
  const double z2 = kNormal95 * kNormal95;
  const double middle = (p + z2 / (2 * n)) / (1 + z2 / n);
  const double half = kNormal95 / (1 + z2 / n) * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return {p, std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

Estimate exponential(const Estimate& x) {
  return {std::exp(x.value), std::exp(x.low), std::exp(x.high)};
}

}  // namespace qwodel
