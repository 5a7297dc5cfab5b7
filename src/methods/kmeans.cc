#include "methods/kmeans.h"

#include <algorithm>
#include <cmath>

#include "kernels/cluster_layer.h"

namespace qwodel {

LineClusters LineKMeans::solve(std::span<const float> values, std::span<const double> weights,
                               std::size_t clusters) {
  clusters = std::min(clusters, values.size());
  sum_prefixes(values, weights);
  LineClusters result;
  result.begins.assign(clusters, 0);
  if (clusters == count_) {
    for (std::size_t i = 0; i < count_; ++i) result.begins[i] = static_cast<std::uint32_t>(i);
  } else {
    fill_layers(clusters);
    std::size_t end = count_;
    for (std::size_t cluster = clusters; cluster > 1; --cluster) {
      end = splits(cluster)[end];
      result.begins[cluster - 1] = static_cast<std::uint32_t>(end);
    }
  }
  for (std::size_t cluster = 0; cluster < clusters; ++cluster) {
    const std::size_t begin = result.begins[cluster];
    const std::size_t end = cluster + 1 < clusters ? result.begins[cluster + 1] : count_;
    double weight = 0, moment = 0, error = 0;
    for (std::size_t i = begin; i < end; ++i) {
      weight += weights[i];
      moment += weights[i] * (static_cast<double>(values[i]) - shift_);
    }
    const double center = moment / weight;
    for (std::size_t i = begin; i < end; ++i) {
      const double distance = static_cast<double>(values[i]) - shift_ - center;
      error += weights[i] * distance * distance;
    }
    result.centers.push_back(center + shift_);
    result.error += error;
  }
  return result;
}

void LineKMeans::sum_prefixes(std::span<const float> values, std::span<const double> weights) {
  count_ = values.size();
  stride_ = count_ + 1 + kClusterPadding;
  weights_.resize(stride_);
  moments_.resize(stride_);
  double total = 0, moment = 0;
  for (std::size_t i = 0; i < count_; ++i) {
    total += weights[i];
    moment += weights[i] * static_cast<double>(values[i]);
  }
  // A value of the problem itself, so that differences from it are exact.
  const auto middle = std::lower_bound(values.begin(), values.end() - 1, moment / total);
  shift_ = static_cast<double>(*middle);
  double weight = 0;
  moment = 0;
  weights_[0] = moments_[0] = 0;
  for (std::size_t i = 1; i < stride_; ++i) {
    const bool padding = i > count_;
    weight += padding ? 1 : weights[i - 1];
    if (!padding) moment += weights[i - 1] * (static_cast<double>(values[i - 1]) - shift_);
    weights_[i] = weight;
    moments_[i] = moment;
  }
}

void LineKMeans::fill_layers(std::size_t clusters) {
  base_.assign(stride_, 0.0);
  gain_.assign(stride_, 0.0);
  if (splits_.size() < clusters * stride_) splits_.resize(clusters * stride_);
  std::fill_n(splits(1), stride_, std::uint16_t{0});
  for (std::size_t j = 1; j <= count_; ++j) gain_[j] = -moments_[j] * moments_[j] / weights_[j];
  for (std::size_t layer = 2; layer <= clusters; ++layer) {
    std::swap(base_, gain_);
    const ClusterLayer task{.weights = weights_.data(),
                            .moments = moments_.data(),
                            .count = count_,
                            .clusters = layer,
                            .base = base_.data(),
                            .lower = splits(layer - 1),
                            .gain = gain_.data(),
                            .split = splits(layer)};
    if (layer == clusters) {
      fill_last_cluster(task);
    } else {
      fill_cluster_layer(task);
    }
  }
}

}  // namespace qwodel
