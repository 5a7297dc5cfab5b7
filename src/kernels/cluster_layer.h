// One layer of the dynamic program of k-means on a line: the best last cluster for every prefix.
//
// The squared error of values [i, j) as one cluster is their sum of w x^2 less (m[j] - m[i])^2 /
// (w[j] - w[i]), with m and w the prefix sums of w x and w. The sums of squares add up to the same
// whatever the clusters are, so what is minimized is the rest.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qwodel {

// Values beyond the last position that the arrays of a layer must have room for.
inline constexpr std::size_t kClusterPadding = 16;

// Arrays have positions 0 ... count, and kClusterPadding more.
struct ClusterLayer {
  const double* weights = nullptr;  // prefix sums; rising strictly, also in the padding
  const double* moments = nullptr;
  std::size_t count = 0;     // distinct values
  std::size_t clusters = 2;  // this layer's number, at least 2
  // Of the layer before, for i from clusters - 1: minus the sum over its clusters of m^2 / w, and
  // where its last cluster begins.
  const double* base = nullptr;
  const std::uint16_t* lower = nullptr;
  // Out, for j from clusters: the same of this layer.
  double* gain = nullptr;
  std::uint16_t* split = nullptr;
};

// Fills gain and split for j = clusters ... count; of splits of equal cost the first. The order of
// evaluation, and with it every rounding, is the same on every target.
// Splits rise with j, and from layer to layer, since the cost satisfies the quadrangle inequality
// (Yao, "Efficient dynamic programming using quadrangle inequalities", STOC 1980).
void fill_cluster_layer(const ClusterLayer& layer);

// The same for j = count only.
void fill_last_cluster(const ClusterLayer& layer);

}  // namespace qwodel
