#include "kernels/cluster_layer.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cluster_layer.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <limits>

#include "kernels/dispatch.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr std::size_t kBlock = 8;  // neighbouring prefixes that share their candidates
static_assert(kBlock <= kClusterPadding);

using DD = hn::CappedTag<double, kBlock>;
using VD = hn::Vec<DD>;

// base[i] - (m[j] - m[i])^2 / (w[j] - w[i]); infinite where no value is between i and j.
HWY_INLINE VD Gain(VD base, VD moment, VD weight) {
  const DD d;
  const VD gain = hn::Sub(base, hn::Div(hn::Mul(moment, moment), weight));
  return hn::IfThenElse(hn::Gt(weight, hn::Zero(d)), gain,
                        hn::Set(d, std::numeric_limits<double>::infinity()));
}

// The best split of prefix j among [low, high].
HWY_INLINE void FindSplit(const ClusterLayer& layer, std::size_t j, std::size_t low,
                          std::size_t high) {
  const DD d;
  const std::size_t lanes = hn::Lanes(d);
  const VD moment = hn::Set(d, layer.moments[j]);
  const VD weight = hn::Set(d, layer.weights[j]);
  VD best = hn::Set(d, std::numeric_limits<double>::infinity());
  VD at = hn::Set(d, static_cast<double>(low));
  VD index = hn::Add(at, hn::Iota(d, 0.0));
  const VD last = hn::Set(d, static_cast<double>(high));
  for (std::size_t i = low; i <= high; i += lanes) {
    const VD gain =
        Gain(hn::LoadU(d, layer.base + i), hn::Sub(moment, hn::LoadU(d, layer.moments + i)),
             hn::Sub(weight, hn::LoadU(d, layer.weights + i)));
    const auto better = hn::And(hn::Lt(gain, best), hn::Le(index, last));
    best = hn::IfThenElse(better, gain, best);
    at = hn::IfThenElse(better, index, at);
    index = hn::Add(index, hn::Set(d, static_cast<double>(lanes)));
  }
  std::array<double, kBlock> gains{}, splits{};
  hn::StoreU(best, d, gains.data());
  hn::StoreU(at, d, splits.data());
  std::size_t winner = 0;
  for (std::size_t lane = 1; lane < lanes; ++lane) {
    if (gains[lane] < gains[winner] ||
        (gains[lane] == gains[winner] && splits[lane] < splits[winner])) {
      winner = lane;
    }
  }
  layer.gain[j] = gains[winner];
  layer.split[j] = static_cast<std::uint16_t>(splits[winner]);
}

// The best splits of prefixes j ... j + kBlock - 1, all among [low, high].
HWY_INLINE void FindBlock(const ClusterLayer& layer, std::size_t j, std::size_t low,
                          std::size_t high) {
  const DD d;
  for (std::size_t lane = 0; lane < kBlock; lane += hn::Lanes(d)) {
    const VD moments = hn::LoadU(d, layer.moments + j + lane);
    const VD weights = hn::LoadU(d, layer.weights + j + lane);
    VD best = hn::Set(d, std::numeric_limits<double>::infinity());
    VD at = hn::Set(d, static_cast<double>(low));
    for (std::size_t i = low; i <= high; ++i) {
      const VD gain =
          Gain(hn::Set(d, layer.base[i]), hn::Sub(moments, hn::Set(d, layer.moments[i])),
               hn::Sub(weights, hn::Set(d, layer.weights[i])));
      const auto better = hn::Lt(gain, best);
      best = hn::IfThenElse(better, gain, best);
      at = hn::IfThenElse(better, hn::Set(d, static_cast<double>(i)), at);
    }
    hn::StoreU(best, d, layer.gain + j + lane);
    std::array<double, kBlock> splits{};
    hn::StoreU(at, d, splits.data());
    for (std::size_t k = 0; k < hn::Lanes(d); ++k) {
      layer.split[j + lane + k] = static_cast<std::uint16_t>(splits[k]);
    }
  }
}

// Every kBlock-th prefix, and the last, by bisection between those already known.
class PivotSearch {
 public:
  explicit PivotSearch(const ClusterLayer& layer)
      : layer_(layer), last_((layer.count - layer.clusters + kBlock - 1) / kBlock) {}

  std::size_t last() const { return last_; }
  std::size_t position(std::size_t pivot) const {
    return std::min(layer_.clusters + pivot * kBlock, layer_.count);
  }

  // Pivots [first, end) have their splits in [low, high].
  void Run(std::size_t first, std::size_t end, std::size_t low, std::size_t high) const {
    while (first < end) {
      const std::size_t middle = first + (end - first) / 2;
      const std::size_t j = position(middle);
      // Before its own last layer begins, the layer before has no split.
      const std::size_t from = std::max<std::size_t>(low, layer_.lower[j]);
      FindSplit(layer_, j, from, std::max(from, std::min(high, j - 1)));
      const std::size_t split = layer_.split[j];
      Run(first, middle, low, split);
      first = middle + 1;
      low = split;
    }
  }

 private:
  const ClusterLayer& layer_;
  std::size_t last_;
};

void FillClusterLayer(const ClusterLayer& layer) {
  const PivotSearch pivots(layer);
  pivots.Run(0, pivots.last() + 1, layer.clusters - 1, layer.count - 1);
  for (std::size_t pivot = 0; pivot < pivots.last(); ++pivot) {
    const std::size_t j = pivots.position(pivot);
    const std::size_t low = layer.split[j];
    FindBlock(layer, j + 1, low,
              std::max<std::size_t>(low, layer.split[pivots.position(pivot + 1)]));
  }
}

void FillLastCluster(const ClusterLayer& layer) {
  const std::size_t low = std::max<std::size_t>(layer.clusters - 1, layer.lower[layer.count]);
  FindSplit(layer, layer.count, low, layer.count - 1);
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(FillClusterLayer);
HWY_EXPORT(FillLastCluster);

void fill_cluster_layer(const ClusterLayer& layer) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(FillClusterLayer)(layer);
}

void fill_last_cluster(const ClusterLayer& layer) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(FillLastCluster)(layer);
}

}  // namespace qwodel
#endif  // HWY_ONCE
