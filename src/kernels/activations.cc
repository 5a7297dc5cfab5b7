#include "kernels/activations.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/activations.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include "kernels/dispatch.h"
#include "kernels/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using VF = hn::Vec<DF>;

// out[i] = f(in[i]); the last vector goes through a buffer, so every value takes the same path.
template <class F>
HWY_INLINE void map_values(const float* in, std::size_t count, float* out, F f) {
  const DF d;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) hn::StoreU(f(hn::LoadU(d, in + i)), d, out + i);
  if (i == count) return;
  HWY_ALIGN float rest[hn::MaxLanes(d)] = {};
  for (std::size_t j = 0; i + j < count; ++j) rest[j] = in[i + j];
  hn::Store(f(hn::Load(d, rest)), d, rest);
  for (std::size_t j = 0; i + j < count; ++j) out[i + j] = rest[j];
}

void Silu(const float* in, std::size_t count, float* out) {
  const DF d;
  map_values(in, count, out,
             [&](VF x) { return hn::Div(x, hn::Add(hn::Set(d, 1.0f), exp_of(d, hn::Neg(x)))); });
}

// x (1 + tanh u) / 2 = x / (1 + e^-2u) with u = sqrt(2 / pi) (x + 0.044715 x^3).
void GeluTanh(const float* in, std::size_t count, float* out) {
  const DF d;
  map_values(in, count, out, [&](VF x) {
    const VF cubic = hn::MulAdd(hn::Mul(hn::Set(d, 0.044715f), hn::Mul(x, x)), x, x);
    const VF exponent = hn::Mul(hn::Set(d, -2.0f * 0.797884561f), cubic);
    return hn::Div(x, hn::Add(hn::Set(d, 1.0f), exp_of(d, exponent)));
  });
}

void Relu(const float* in, std::size_t count, float* out) {
  const DF d;
  map_values(in, count, out,
             [&](VF x) { return hn::IfThenElse(hn::IsNaN(x), x, hn::Max(x, hn::Zero(d))); });
}

void Sigmoid(const float* in, std::size_t count, float* out) {
  const DF d;
  map_values(in, count, out, [&](VF x) { return sigmoid_of(d, x); });
}

void HyperbolicTangent(const float* in, std::size_t count, float* out) {
  const DF d;
  map_values(in, count, out, [&](VF x) { return tanh_of(d, x); });
}

void Softcap(const float* in, std::size_t count, float cap, float* out) {
  const DF d;
  const VF scale = hn::Set(d, cap);
  map_values(in, count, out, [&](VF x) { return hn::Mul(scale, tanh_of(d, hn::Div(x, scale))); });
}

float ExpMinus(const float* in, std::size_t count, float shift, float* out) {
  const DF d;
  const std::size_t lanes = hn::Lanes(d);
  const VF shifted = hn::Set(d, shift);
  VF sums = hn::Zero(d);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const VF value = exp_of(d, hn::Sub(hn::LoadU(d, in + i), shifted));
    hn::StoreU(value, d, out + i);
    sums = hn::Add(sums, value);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  if (i < count) {
    map_values(in + i, count - i, out + i, [&](VF x) { return exp_of(d, hn::Sub(x, shifted)); });
    for (; i < count; ++i) sum += out[i];
  }
  return sum;
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(Silu);
HWY_EXPORT(GeluTanh);
HWY_EXPORT(Relu);
HWY_EXPORT(Sigmoid);
HWY_EXPORT(HyperbolicTangent);
HWY_EXPORT(Softcap);
HWY_EXPORT(ExpMinus);

void silu(const float* in, std::size_t count, float* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(Silu)(in, count, out);
}

void gelu_tanh(const float* in, std::size_t count, float* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(GeluTanh)(in, count, out);
}

void gelu_erf(const float* in, std::size_t count, float* out) {
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = 0.5f * in[i] * std::erfc(-in[i] * 0.707106781f);
  }
}

void relu(const float* in, std::size_t count, float* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(Relu)(in, count, out);
}

void sigmoid(const float* in, std::size_t count, float* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(Sigmoid)(in, count, out);
}

void hyperbolic_tangent(const float* in, std::size_t count, float* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(HyperbolicTangent)(in, count, out);
}

void softcap(const float* in, std::size_t count, float cap, float* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(Softcap)(in, count, cap, out);
}

float exp_minus(const float* in, std::size_t count, float shift, float* out) {
  prepare_kernels();
  return HWY_DYNAMIC_DISPATCH(ExpMinus)(in, count, shift, out);
}

}  // namespace qwodel
#endif  // HWY_ONCE
