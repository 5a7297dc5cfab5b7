// Activation-aware scaling: input channels that carry large activations are scaled up before
// rounding, and what produces them is scaled down, so that the product stays the same.
//
// Lin et al., "AWQ: Activation-aware Weight Quantization" (arXiv 2306.00978). The scale of channel
// c is mean|x_c|^ratio, in the "duo" form divided by mean|w_c|^(1 - ratio) (AutoAWQ). The loss of a
// ratio is measured on the second moments of the inputs instead of the inputs themselves: the
// squared error of the outputs is the sum over rows of dw G dw^T, G = X^T X.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "codecs/group_int.h"
#include "core/matrix.h"
#include "graph/compute_type.h"

namespace qwodel {

struct AwqWeight {
  ConstMatrixView values;  // [out_features, in_features], contiguous
  GroupIntScheme scheme;   // what it is rounded to, or what is like it; divides in_features
};

// Linears that read one value, whose producer can take the inverse scale.
struct AwqGroup {
  std::vector<AwqWeight> weights;
  ConstMatrixView gram;             // X^T X [in_features, in_features], any common factor
  std::span<const float> mean_abs;  // mean |x| [in_features]
  // Columns with the same number must have the same scale [in_features]; empty: all are free.
  std::span<const std::uint32_t> channel = {};
};

// How weights are rounded in a trial.
enum class AwqRounding : std::uint8_t {
  range,   // to the nearest in the range of each group
  clipped  // with searched parameters and clipping, as AWQ alone is written
};

// The loss of weights [out_features, in_features] as a trial would leave them, one for each of the
// group: what they change in what their block gives.
using AwqBlockLoss = std::function<double(const std::vector<std::vector<float>>& weights)>;

struct AwqOptions {
  int ratios = 10;  // ratios 0, 1/ratios ... 1, then half steps around the best
  bool duo = true;  // the form with weights, too
  // clipped: of the best trials; which they are is seen when all are rounded in the range.
  AwqRounding rounding = AwqRounding::clipped;
  ComputeType compute = ComputeType::f32;  // of products with the Gram matrix; or bf16
  // Chooses among the best trials in place of the error of the group's own outputs, if there is
  // one. If it is 0 without scales, it says nothing about the group.
  AwqBlockLoss block_loss = {};
};

struct AwqScales {
  std::vector<float> scales;  // [in_features], all 1 when nothing is better
  double ratio = 0;
  bool duo = false;
  double loss_before = 0;  // without scales
  double loss_after = 0;
};

// The result does not depend on threads.
AwqScales search_awq_scales(const AwqGroup& group, const AwqOptions& options);

}  // namespace qwodel
