#include "kernels/logit_sums.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/logit_sums.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "kernels/dispatch.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DD = hn::ScalableTag<double>;
using DF = hn::Rebind<float, DD>;
using VD = hn::Vec<DD>;

float LargestLogit(const float* values, std::size_t count) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  float largest = -std::numeric_limits<float>::infinity();
  std::size_t i = 0;
  if (count >= lanes) {
    auto best = hn::Set(d, largest);
    for (; i + lanes <= count; i += lanes) best = hn::Max(best, hn::LoadU(d, values + i));
    largest = hn::GetLane(hn::MaxOfLanes(d, best));
  }
  for (; i < count; ++i) largest = std::max(largest, values[i]);
  return largest;
}

// Makes the largest of a tile the row's, and returns the factor of the sums so far.
double RaiseMax(const float* values, std::size_t count, std::uint64_t first_column,
                LogitSums& sums) {
  const float largest = LargestLogit(values, count);
  if (!(static_cast<double>(largest) > sums.max)) return 1.0;
  const double factor = std::exp(sums.max - static_cast<double>(largest));
  sums.max = static_cast<double>(largest);
  sums.argmax = first_column +
                static_cast<std::uint64_t>(std::find(values, values + count, largest) - values);
  sums.sum *= factor;
  return factor;
}

// What exponents are relative to; any number will do while all logits are -infinity.
double Base(const LogitSums& sums) { return std::isinf(sums.max) ? 0.0 : sums.max; }

// e^(x - base), and NaN for a NaN, which hn::Exp turns into 0.
HWY_INLINE VD ExpMinus(VD x, VD base) {
  const VD difference = hn::Sub(x, base);
  return hn::IfThenElse(hn::IsNaN(difference), difference, hn::Exp(DD(), difference));
}

HWY_INLINE VD Load(const float* values) { return hn::PromoteTo(DD(), hn::LoadU(DF(), values)); }

void AddLogits(const float* logits, std::size_t count, std::uint64_t first_column,
               LogitSums& sums) {
  RaiseMax(logits, count, first_column, sums);
  const DD d;
  const std::size_t lanes = hn::Lanes(d);
  const double base = Base(sums);
  const VD max = hn::Set(d, base);
  VD sum = hn::Zero(d);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    sum = hn::Add(sum, ExpMinus(Load(logits + i), max));
  }
  sums.sum += hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < count; ++i) sums.sum += std::exp(static_cast<double>(logits[i]) - base);
}

void AddLogitPair(const float* p, const float* q, std::size_t count, std::uint64_t first_column,
                  LogitPairSums& sums, float p_floor) {
  sums.difference *= RaiseMax(p, count, first_column, sums.p);
  RaiseMax(q, count, first_column, sums.q);
  const DD d;
  const std::size_t lanes = hn::Lanes(d);
  const double base_p = Base(sums.p);
  const double base_q = Base(sums.q);
  const VD max_p = hn::Set(d, base_p);
  const VD max_q = hn::Set(d, base_q);
  const VD floor = hn::Set(d, static_cast<double>(p_floor));
  VD sum_p = hn::Zero(d);
  VD sum_q = hn::Zero(d);
  VD difference = hn::Zero(d);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const VD x = Load(p + i);
    const VD y = Load(q + i);
    const auto counts = hn::Not(hn::Le(x, floor));  // a NaN does
    const VD weight = hn::IfThenElseZero(counts, ExpMinus(x, max_p));
    sum_p = hn::Add(sum_p, weight);
    sum_q = hn::Add(sum_q, ExpMinus(y, max_q));
    difference = hn::Add(difference, hn::IfThenElseZero(counts, hn::Mul(weight, hn::Sub(x, y))));
  }
  sums.p.sum += hn::GetLane(hn::SumOfLanes(d, sum_p));
  sums.q.sum += hn::GetLane(hn::SumOfLanes(d, sum_q));
  sums.difference += hn::GetLane(hn::SumOfLanes(d, difference));
  for (; i < count; ++i) {
    const double x = static_cast<double>(p[i]);
    const double y = static_cast<double>(q[i]);
    sums.q.sum += std::exp(y - base_q);
    if (p[i] <= p_floor) continue;
    const double weight = std::exp(x - base_p);
    sums.p.sum += weight;
    sums.difference += weight * (x - y);
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(AddLogits);
HWY_EXPORT(AddLogitPair);

double LogitSums::log_sum_exp() const { return max + std::log(sum); }

double LogitPairSums::kl_divergence() const {
  return difference / p.sum - p.log_sum_exp() + q.log_sum_exp();
}

void add_logits(const float* logits, std::size_t count, std::uint64_t first_column,
                LogitSums& sums) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(AddLogits)(logits, count, first_column, sums);
}

void add_logit_pair(const float* p, const float* q, std::size_t count, std::uint64_t first_column,
                    LogitPairSums& sums, float p_floor) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(AddLogitPair)(p, q, count, first_column, sums, p_floor);
}

}  // namespace qwodel
#endif  // HWY_ONCE
