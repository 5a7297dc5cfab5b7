#include "methods/awq_trials.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <unordered_map>

namespace qwodel {
namespace {

constexpr float kSmallestScale = 1e-4f;

}  // namespace

AwqTrials::AwqTrials(const AwqGroup& group, const AwqOptions& options)
    : group_(group), options_(options), d_(group.gram.rows) {
  if (options_.duo) weigh_weights();
}

std::vector<AwqTrial> AwqTrials::grid() const {
  std::vector<AwqTrial> trials;
  for (int i = 0; i <= options_.ratios; ++i) {
    const double ratio = static_cast<double>(i) / options_.ratios;
    if (i > 0) trials.push_back({ratio, false});
    if (options_.duo) trials.push_back({ratio, true});
  }
  return trials;
}

// Mean over all rows of |w| relative to the largest of its group (AutoAWQ, quantizer.py).
void AwqTrials::weigh_weights() {
  std::vector<double> sums(d_, 0.0);
  std::size_t rows = 0;
  for (const AwqWeight& weight : group_.weights) {
    const auto size = static_cast<std::size_t>(weight.scheme.group_of(d_));
    rows += weight.values.rows;
    for (std::size_t r = 0; r < weight.values.rows; ++r) {
      add_relative(weight.values.row(r), size, sums);
    }
  }
  for (const double sum : sums) {
    mean_weight_.push_back(static_cast<float>(sum / static_cast<double>(rows)));
  }
}

void AwqTrials::add_relative(std::span<const float> row, std::size_t size,
                             std::vector<double>& sums) const {
  for (std::size_t first = 0; first < d_; first += size) {
    float largest = 1e-6f;
    for (std::size_t i = first; i < first + size; ++i) {
      largest = std::max(largest, std::fabs(row[i]));
    }
    for (std::size_t i = first; i < first + size; ++i) {
      sums[i] += static_cast<double>(std::fabs(row[i]) / largest);
    }
  }
}

std::vector<float> AwqTrials::scales(AwqTrial trial) const {
  std::vector<float> result(d_);
  for (std::size_t c = 0; c < d_; ++c) {
    double scale = std::pow(static_cast<double>(group_.mean_abs[c]), trial.ratio);
    if (trial.duo) {
      scale /= std::pow(static_cast<double>(mean_weight_[c]), 1 - trial.ratio) + 1e-4;
    }
    result[c] = std::max(static_cast<float>(scale), kSmallestScale);
  }
  tie(result);
  const auto [low, high] = std::ranges::minmax(result);
  const float middle = std::sqrt(low * high);
  if (!std::isfinite(middle) || middle <= 0) return {};
  for (float& scale : result) scale /= middle;
  return result;
}

// Columns that share a channel take the largest of their scales.
void AwqTrials::tie(std::vector<float>& scales) const {
  std::unordered_map<std::uint32_t, float> largest;
  for (std::size_t c = 0; c < group_.channel.size(); ++c) {
    float& scale = largest[group_.channel[c]];
    scale = std::max(scale, scales[c]);
  }
  for (std::size_t c = 0; c < group_.channel.size(); ++c) scales[c] = largest[group_.channel[c]];
}

}  // namespace qwodel
