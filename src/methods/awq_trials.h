// The scales that AWQ's search tries: mean|x_c|^ratio, in the "duo" form divided by
// mean|w_c|^(1 - ratio) (AutoAWQ, quantizer.py).
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "methods/awq.h"

namespace qwodel {

struct AwqTrial {
  double ratio = 0;
  bool duo = false;
};

class AwqTrials {
 public:
  // Both outlive it.
  AwqTrials(const AwqGroup& group, const AwqOptions& options);

  // Ratios 0, 1 / ratios ... 1 in both forms, without the one that is no scales at all.
  std::vector<AwqTrial> grid() const;

  // [in_features], normalized so that the smallest and the largest multiply to 1. Empty when they
  // are useless.
  std::vector<float> scales(AwqTrial trial) const;

 private:
  void weigh_weights();
  void add_relative(std::span<const float> row, std::size_t size, std::vector<double>& sums) const;
  void tie(std::vector<float>& scales) const;

  const AwqGroup& group_;
  const AwqOptions& options_;
  std::size_t d_;
  std::vector<float> mean_weight_;
};

}  // namespace qwodel
