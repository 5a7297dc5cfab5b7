#include "kernels/error_sums.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/error_sums.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include <algorithm>

#include "kernels/dispatch.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr std::size_t kPartialSums = 16;
constexpr std::size_t kRun = 512;

// Adds the squares of a run to 16 partial sums: value i goes to sum i % 16 on every target.
ErrorSums RunSums(const float* values, const float* decoded, std::size_t count) {
  const hn::CappedTag<float, kPartialSums> d;
  const std::size_t lanes = hn::Lanes(d);
  HWY_ALIGN float error[kPartialSums] = {};
  HWY_ALIGN float signal[kPartialSums] = {};
  const std::size_t whole = count - count % kPartialSums;
  for (std::size_t lane = 0; lane < kPartialSums; lane += lanes) {
    auto e = hn::Zero(d);
    auto s = hn::Zero(d);
    for (std::size_t i = lane; i < whole; i += kPartialSums) {
      const auto x = hn::LoadU(d, values + i);
      const auto difference = hn::Sub(x, hn::LoadU(d, decoded + i));
      e = hn::Add(e, hn::Mul(difference, difference));
      s = hn::Add(s, hn::Mul(x, x));
    }
    hn::Store(e, d, error + lane);
    hn::Store(s, d, signal + lane);
  }
  for (std::size_t i = whole; i < count; ++i) {
    const float difference = values[i] - decoded[i];
    error[i % kPartialSums] += difference * difference;
    signal[i % kPartialSums] += values[i] * values[i];
  }
  ErrorSums sums;
  for (std::size_t i = 0; i < kPartialSums; ++i) {
    sums.error += static_cast<double>(error[i]);
    sums.signal += static_cast<double>(signal[i]);
  }
  return sums;
}

ErrorSums AllSums(const float* values, const float* decoded, std::size_t count) {
  ErrorSums sums;
  for (std::size_t i = 0; i < count; i += kRun) {
    sums.add(RunSums(values + i, decoded + i, std::min(kRun, count - i)));
  }
  return sums;
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(AllSums);

ErrorSums error_sums(const float* values, const float* decoded, std::size_t count) {
  prepare_kernels();
  return HWY_DYNAMIC_DISPATCH(AllSums)(values, decoded, count);
}

}  // namespace qwodel
#endif  // HWY_ONCE
