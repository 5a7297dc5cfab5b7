// Functions of one vector of floats, for kernels of activations and softmax. Included once per
// instruction set.
#if defined(QWODEL_KERNELS_VECTOR_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QWODEL_KERNELS_VECTOR_MATH_INL_H_
#undef QWODEL_KERNELS_VECTOR_MATH_INL_H_
#else
#define QWODEL_KERNELS_VECTOR_MATH_INL_H_
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// e^x, at most 2 ulp off; 0 below -87.3 (no subnormals), infinity above 88.7, NaN for NaN.
// x = n ln 2 + r with |r| <= ln 2 / 2, and the Taylor series of e^r to r^7, whose next term is
// below a tenth of an ulp.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V exp_of(D d, V x) {
  const hn::RebindToSigned<D> di;
  const V low = hn::Set(d, -87.3f);
  const V high = hn::Set(d, 88.7f);
  const V clamped = hn::Min(hn::Max(x, low), high);
  const V n = hn::Round(hn::Mul(clamped, hn::Set(d, 1.44269504f)));
  // ln 2 in two parts: n times the first is exact.
  V r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), clamped);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  V p = hn::Set(d, 1.0f / 5040.0f);
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 720.0f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 120.0f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 24.0f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 6.0f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.5f));
  p = hn::Add(hn::MulAdd(hn::Mul(r, r), p, r), hn::Set(d, 1.0f));
  // 2^n in two factors: n reaches 128, which one exponent does not hold.
  const auto whole = hn::ConvertTo(di, n);
  const auto half = hn::ShiftRight<1>(whole);
  const auto power = [&](hn::Vec<decltype(di)> e) {
    return hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(e, hn::Set(di, 127))));
  };
  V result = hn::Mul(hn::Mul(p, power(half)), power(hn::Sub(whole, half)));
  result = hn::IfThenZeroElse(hn::Lt(x, low), result);
  result = hn::IfThenElse(hn::Gt(x, high), hn::Inf(d), result);
  return hn::IfThenElse(hn::IsNaN(x), x, result);
}

// 1 / (1 + e^-x).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V sigmoid_of(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, exp_of(d, hn::Neg(x))));
}

// At most 4 ulp off: its Taylor series below 1/4, 1 - 2 / (e^2x + 1) above.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V tanh_of(D d, V x) {
  const V magnitude = hn::Abs(x);
  const V one = hn::Set(d, 1.0f);
  const V two = hn::Set(d, 2.0f);
  const V large = hn::Sub(one, hn::Div(two, hn::Add(exp_of(d, hn::Mul(two, magnitude)), one)));
  const V s = hn::Mul(x, x);
  V p = hn::Set(d, -1382.0f / 155925.0f);
  p = hn::MulAdd(p, s, hn::Set(d, 62.0f / 2835.0f));
  p = hn::MulAdd(p, s, hn::Set(d, -17.0f / 315.0f));
  p = hn::MulAdd(p, s, hn::Set(d, 2.0f / 15.0f));
  p = hn::MulAdd(p, s, hn::Set(d, -1.0f / 3.0f));
  const V small = hn::MulAdd(hn::Mul(p, s), x, x);
  return hn::IfThenElse(hn::Lt(magnitude, hn::Set(d, 0.25f)), small, hn::CopySign(large, x));
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
