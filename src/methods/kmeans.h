// k-means on a line, solved to the global optimum.
//
// In one dimension clusters are intervals of the sorted values, so the best ones come from a
// dynamic program over (clusters, prefix) whose inner minimum is found by bisection, since the best
// split moves with the prefix (Grønlund et al., "Fast exact k-means, k-medians and Bregman
// divergence clustering in 1D", arXiv 1701.07204; the bounds between layers are Yao's).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace qwodel {

// Distinct values that one problem may have: all finite halves, with one zero.
inline constexpr std::size_t kMaxDistinctValues = 63487;

struct LineClusters {
  std::vector<std::uint32_t> begins;  // first value of each cluster, rising
  std::vector<double> centers;        // weighted means, rising
  double error = 0;                   // weighted sum of squared distances to them
};

// Reuses its buffers from problem to problem. Not thread-safe.
class LineKMeans {
 public:
  // At most `clusters` clusters of least error: fewer when there are fewer values. REQUIRES: values
  // rise strictly, at least one and at most kMaxDistinctValues; weights are positive integers whose
  // sum is below 2^53; 1 to 256 clusters.
  LineClusters solve(std::span<const float> values, std::span<const double> weights,
                     std::size_t clusters);

 private:
  void sum_prefixes(std::span<const float> values, std::span<const double> weights);
  void fill_layers(std::size_t clusters);
  std::uint16_t* splits(std::size_t clusters) { return splits_.data() + (clusters - 1) * stride_; }

  std::size_t count_ = 0;
  std::size_t stride_ = 0;                 // of arrays over prefixes
  double shift_ = 0;                       // taken off the values, which keeps sums small
  std::vector<double> weights_, moments_;  // prefix sums
  std::vector<double> base_, gain_;        // of two layers
  std::vector<std::uint16_t> splits_;      // [clusters, stride_]
};

}  // namespace qwodel
