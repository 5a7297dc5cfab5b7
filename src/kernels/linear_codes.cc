#include "kernels/linear_codes.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/linear_codes.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "core/half.h"
#include "kernels/dispatch.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using DI = hn::RebindToSigned<DF>;
using DU = hn::RebindToUnsigned<DF>;
using DU8 = hn::Rebind<std::uint8_t, DF>;
using VF = hn::Vec<DF>;

void FindRanges(const float* values, std::size_t count, std::size_t run, float* low, float* high) {
  const DF d;
  const std::size_t lanes = hn::Lanes(d);
  for (std::size_t first = 0; first < count; first += run) {
    const float* from = values + first;
    float smallest = from[0], largest = from[0];
    std::size_t i = 0;
    if (run >= lanes) {
      VF smaller = hn::LoadU(d, from), larger = smaller;
      for (i = lanes; i + lanes <= run; i += lanes) {
        const VF value = hn::LoadU(d, from + i);
        smaller = hn::Min(smaller, value);
        larger = hn::Max(larger, value);
      }
      smallest = hn::GetLane(hn::MinOfLanes(d, smaller));
      largest = hn::GetLane(hn::MaxOfLanes(d, larger));
    }
    for (; i < run; ++i) {
      smallest = std::min(smallest, from[i]);
      largest = std::max(largest, from[i]);
    }
    *low++ = smallest;
    *high++ = largest;
  }
}

// To the 11 bits of a normal half. What a half would flush or overflow keeps its size: the integer
// it is rounded to, and clamped, is the same.
HWY_INLINE VF RoundToHalf(VF value) {
  const DU d;
  const auto bits = hn::BitCast(d, value);
  const auto odd = hn::And(hn::ShiftRight<13>(bits), hn::Set(d, 1u));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(d, 0x0FFFu)));
  return hn::BitCast(DF(), hn::And(rounded, hn::Set(d, 0xFFFFE000u)));
}

HWY_INLINE hn::Vec<DI> Codes(const LinearCodeTask& task, VF value, VF scale, VF zero) {
  const DF d;
  const VF quotient = RoundToHalf(hn::Div(value, scale));
  const VF known = hn::IfThenElseZero(hn::Eq(quotient, quotient), quotient);
  const VF bounded = hn::Min(hn::Max(known, hn::Set(d, -1024.0f)), hn::Set(d, 1024.0f));
  const VF code = hn::Add(hn::Round(bounded), zero);
  const VF clamped = hn::Min(hn::Max(code, hn::Set(d, task.lowest)), hn::Set(d, task.highest));
  const VF result = hn::IfThenElseZero(hn::Eq(quotient, quotient), clamped);
  return hn::And(hn::ConvertTo(DI(), result), hn::Set(DI(), 0xFF));
}

void RoundLinearCodes(const LinearCodeTask& task) {
  const DF d;
  const std::size_t lanes = hn::Lanes(d);
  for (std::size_t run = 0; run * task.run < task.count; ++run) {
    const float* from = task.values + run * task.run;
    std::uint8_t* to = task.codes + run * task.run;
    const VF scale = hn::Set(d, task.scales[run]);
    const VF zero = hn::Set(d, task.zeros[run]);
    std::size_t i = 0;
    for (; i + lanes <= task.run; i += lanes) {
      const auto codes = Codes(task, hn::LoadU(d, from + i), scale, zero);
      hn::StoreU(hn::DemoteTo(DU8(), codes), DU8(), to + i);
    }
    for (; i < task.run; ++i) {
      const auto codes = Codes(task, hn::Set(d, from[i]), scale, zero);
      to[i] = static_cast<std::uint8_t>(hn::GetLane(codes));
    }
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(FindRanges);
HWY_EXPORT(RoundLinearCodes);

float round_to_half(float value) { return half_to_float(float_to_half(value)); }

void find_ranges(const float* values, std::size_t count, std::size_t run, float* low, float* high) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(FindRanges)(values, count, run, low, high);
}

void round_linear_codes(const LinearCodeTask& task) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(RoundLinearCodes)(task);
}

}  // namespace qwodel
#endif  // HWY_ONCE
