#include "kernels/convert.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/convert.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include "core/half.h"
#include "kernels/dispatch.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using DU = hn::RebindToUnsigned<DF>;
using DU16 = hn::Rebind<std::uint16_t, DF>;
using VU = hn::Vec<DU>;

HWY_INLINE VU promote(const std::uint16_t* in) {
  return hn::PromoteTo(DU(), hn::LoadU(DU16(), in));
}

// REQUIRES: every lane fits 16 bits.
HWY_INLINE void store_low_halves(VU value, std::uint16_t* out) {
  hn::StoreU(hn::DemoteTo(DU16(), hn::BitCast(hn::RebindToSigned<DF>(), value)), DU16(), out);
}

void HalfToFloat(const std::uint16_t* in, std::size_t count, float* out) {
  const DF df;
  const DU du;
  const std::size_t lanes = hn::Lanes(df);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const VU half = promote(in + i);
    const VU sign = hn::ShiftLeft<16>(hn::And(half, hn::Set(du, 0x8000u)));
    const VU shifted = hn::ShiftLeft<13>(hn::And(half, hn::Set(du, 0x7FFFu)));
    // 2^112 moves the exponent bias from 15 to 127, exactly, subnormals included.
    const VU scaled = hn::BitCast(du, hn::Mul(hn::BitCast(df, shifted), hn::Set(df, 0x1p112f)));
    const auto special =
        hn::Ge(hn::BitCast(df, shifted), hn::BitCast(df, hn::Set(du, 0x0F800000u)));
    const VU infinite = hn::Or(shifted, hn::Set(du, 0x7F800000u));
    const VU magnitude = hn::IfThenElse(hn::RebindMask(du, special), infinite, scaled);
    hn::StoreU(hn::BitCast(df, hn::Or(sign, magnitude)), df, out + i);
  }
  for (; i < count; ++i) out[i] = qwodel::half_to_float(in[i]);
}

void FloatToHalf(const float* in, std::size_t count, std::uint16_t* out) {
  const DF df;
  const DU du;
  const std::size_t lanes = hn::Lanes(df);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const VU bits = hn::BitCast(du, hn::LoadU(df, in + i));
    const VU sign = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 0x8000u));
    const VU magnitude = hn::And(bits, hn::Set(du, 0x7FFFFFFFu));
    const VU odd = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(du, 1u));
    const VU rounded = hn::Add(hn::Sub(magnitude, hn::Set(du, 0x38000000u - 0x0FFFu)), odd);
    const VU aligned = hn::BitCast(du, hn::Add(hn::BitCast(df, magnitude), hn::Set(df, 0.5f)));
    VU half = hn::ShiftRight<13>(rounded);
    half = hn::IfThenElse(hn::Lt(magnitude, hn::Set(du, 0x38800000u)),
                          hn::Sub(aligned, hn::Set(du, 0x3F000000u)), half);
    half = hn::IfThenElse(hn::Gt(magnitude, hn::Set(du, 0x477FEFFFu)), hn::Set(du, 0x7C00u), half);
    half = hn::IfThenElse(hn::Gt(magnitude, hn::Set(du, 0x7F800000u)), hn::Set(du, 0x7E00u), half);
    store_low_halves(hn::Or(sign, half), out + i);
  }
  for (; i < count; ++i) out[i] = qwodel::float_to_half(in[i]);
}

void Bfloat16ToFloat(const std::uint16_t* in, std::size_t count, float* out) {
  const DF df;
  const std::size_t lanes = hn::Lanes(df);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreU(hn::BitCast(df, hn::ShiftLeft<16>(promote(in + i))), df, out + i);
  }
  for (; i < count; ++i) out[i] = qwodel::bfloat16_to_float(in[i]);
}

void FloatToBfloat16(const float* in, std::size_t count, std::uint16_t* out) {
  const DF df;
  const DU du;
  const std::size_t lanes = hn::Lanes(df);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const VU bits = hn::BitCast(du, hn::LoadU(df, in + i));
    const VU upper = hn::ShiftRight<16>(bits);
    const VU odd = hn::And(upper, hn::Set(du, 1u));
    const VU rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(hn::Set(du, 0x7FFFu), odd)));
    const auto nan = hn::Gt(hn::And(bits, hn::Set(du, 0x7FFFFFFFu)), hn::Set(du, 0x7F800000u));
    store_low_halves(hn::IfThenElse(nan, hn::Or(upper, hn::Set(du, 64u)), rounded), out + i);
  }
  for (; i < count; ++i) out[i] = qwodel::float_to_bfloat16(in[i]);
}

std::size_t FindNonFinite(const float* values, std::size_t count) {
  const DF df;
  const DU du;
  const std::size_t lanes = hn::Lanes(df);
  const auto non_finite = [&](std::size_t i) {
    const VU bits = hn::BitCast(du, hn::LoadU(df, values + i));
    return hn::Gt(hn::And(bits, hn::Set(du, 0x7FFFFFFFu)), hn::Set(du, 0x7F7FFFFFu));
  };
  std::size_t i = 0;
  while (i + lanes <= count && hn::AllFalse(du, non_finite(i))) i += lanes;
  for (; i < count; ++i) {
    if ((std::bit_cast<std::uint32_t>(values[i]) & 0x7FFFFFFFu) > 0x7F7FFFFFu) return i;
  }
  return count;
}

std::size_t CountHalfOverflow(const float* values, std::size_t count) {
  const DF df;
  const DU du;
  const std::size_t lanes = hn::Lanes(df);
  const auto overflows = [](std::uint32_t magnitude) {
    return magnitude >= 0x477FF000u && magnitude < 0x7F800000u;
  };
  std::size_t found = 0;
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const VU magnitude =
        hn::And(hn::BitCast(du, hn::LoadU(df, values + i)), hn::Set(du, 0x7FFFFFFFu));
    found += hn::CountTrue(du, hn::And(hn::Gt(magnitude, hn::Set(du, 0x477FEFFFu)),
                                       hn::Lt(magnitude, hn::Set(du, 0x7F800000u))));
  }
  for (; i < count; ++i) {
    if (overflows(std::bit_cast<std::uint32_t>(values[i]) & 0x7FFFFFFFu)) ++found;
  }
  return found;
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(HalfToFloat);
HWY_EXPORT(FloatToHalf);
HWY_EXPORT(Bfloat16ToFloat);
HWY_EXPORT(FloatToBfloat16);
HWY_EXPORT(FindNonFinite);
HWY_EXPORT(CountHalfOverflow);

void half_to_float(const std::uint16_t* in, std::size_t count, float* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(HalfToFloat)(in, count, out);
}

void float_to_half(const float* in, std::size_t count, std::uint16_t* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(FloatToHalf)(in, count, out);
}

void bfloat16_to_float(const std::uint16_t* in, std::size_t count, float* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(Bfloat16ToFloat)(in, count, out);
}

void float_to_bfloat16(const float* in, std::size_t count, std::uint16_t* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(FloatToBfloat16)(in, count, out);
}

std::size_t find_non_finite(const float* values, std::size_t count) {
  prepare_kernels();
  return HWY_DYNAMIC_DISPATCH(FindNonFinite)(values, count);
}

std::size_t count_half_overflow(const float* values, std::size_t count) {
  prepare_kernels();
  return HWY_DYNAMIC_DISPATCH(CountHalfOverflow)(values, count);
}

}  // namespace qwodel
#endif  // HWY_ONCE
