#include "kernels/row_ops.h"

#include <algorithm>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/row_ops.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include "kernels/dispatch.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using VF = hn::Vec<DF>;

// Sum of f(x) in two chains of lanes.
template <class F>
HWY_INLINE float sum_values(const float* in, std::size_t count, F f) {
  const DF d;
  const std::size_t lanes = hn::Lanes(d);
  VF a = hn::Zero(d);
  VF b = hn::Zero(d);
  std::size_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    a = hn::Add(a, f(hn::LoadU(d, in + i)));
    b = hn::Add(b, f(hn::LoadU(d, in + i + lanes)));
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(a, b)));
  for (; i < count; ++i) sum += hn::GetLane(f(hn::Set(d, in[i])));
  return sum;
}

// out = (x - shift) * factor * weight + bias.
HWY_INLINE void write_normalized(const float* in, std::size_t count, float shift, float factor,
                                 const float* weight, const float* bias, float* out) {
  const DF d;
  const std::size_t lanes = hn::Lanes(d);
  const VF shifts = hn::Set(d, shift);
  const VF factors = hn::Set(d, factor);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    VF value = hn::Mul(hn::Sub(hn::LoadU(d, in + i), shifts), factors);
    if (weight != nullptr) value = hn::Mul(value, hn::LoadU(d, weight + i));
    if (bias != nullptr) value = hn::Add(value, hn::LoadU(d, bias + i));
    hn::StoreU(value, d, out + i);
  }
  for (; i < count; ++i) {
    float value = (in[i] - shift) * factor;
    if (weight != nullptr) value *= weight[i];
    if (bias != nullptr) value += bias[i];
    out[i] = value;
  }
}

void RmsNorm(const float* in, std::size_t count, float epsilon, const float* weight,
             const float* bias, float* out) {
  const float squares = sum_values(in, count, [](VF x) { return hn::Mul(x, x); });
  const float factor = 1.0f / std::sqrt(squares / static_cast<float>(count) + epsilon);
  write_normalized(in, count, 0.0f, factor, weight, bias, out);
}

void LayerNorm(const float* in, std::size_t count, float epsilon, const float* weight,
               const float* bias, float* out) {
  const DF d;
  const float n = static_cast<float>(count);
  const float mean = sum_values(in, count, [](VF x) { return x; }) / n;
  const float squares = sum_values(in, count, [&](VF x) {
    const VF centred = hn::Sub(x, hn::Set(d, mean));
    return hn::Mul(centred, centred);
  });
  write_normalized(in, count, mean, 1.0f / std::sqrt(squares / n + epsilon), weight, bias, out);
}

template <class F>
HWY_INLINE void map_pairs(const float* a, const float* b, std::size_t count, float* out, F f) {
  const DF d;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreU(f(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i);
  }
  for (; i < count; ++i) out[i] = hn::GetLane(f(hn::Set(d, a[i]), hn::Set(d, b[i])));
}

void Add(const float* a, const float* b, std::size_t count, float* out) {
  map_pairs(a, b, count, out, [](VF x, VF y) { return hn::Add(x, y); });
}

void Multiply(const float* a, const float* b, std::size_t count, float* out) {
  map_pairs(a, b, count, out, [](VF x, VF y) { return hn::Mul(x, y); });
}

void AddScalar(const float* in, std::size_t count, float value, float* out) {
  const DF d;
  map_pairs(in, in, count, out, [&](VF x, VF) { return hn::Add(x, hn::Set(d, value)); });
}

void Scale(const float* in, std::size_t count, float factor, float* out) {
  const DF d;
  map_pairs(in, in, count, out, [&](VF x, VF) { return hn::Mul(x, hn::Set(d, factor)); });
}

void Clamp(const float* in, std::size_t count, float limit, float* out) {
  const DF d;
  map_pairs(in, in, count, out, [&](VF x, VF) {
    const VF inside = hn::Min(hn::Max(x, hn::Set(d, -limit)), hn::Set(d, limit));
    return hn::IfThenElse(hn::IsNaN(x), x, inside);
  });
}

void AddScaled(const float* in, std::size_t count, float factor, float* out) {
  const DF d;
  map_pairs(in, out, count, out,
            [&](VF x, VF y) { return hn::Add(y, hn::Mul(x, hn::Set(d, factor))); });
}

float Dot(const float* a, const float* b, std::size_t count) {
  const DF d;
  const std::size_t lanes = hn::Lanes(d);
  VF even = hn::Zero(d);
  VF odd = hn::Zero(d);
  std::size_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    even = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), even);
    odd = hn::MulAdd(hn::LoadU(d, a + i + lanes), hn::LoadU(d, b + i + lanes), odd);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
  for (; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

float Largest(const float* in, std::size_t count) {
  const DF d;
  const std::size_t lanes = hn::Lanes(d);
  VF best = hn::Set(d, -std::numeric_limits<float>::infinity());
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) best = hn::Max(best, hn::LoadU(d, in + i));
  float result = hn::GetLane(hn::MaxOfLanes(d, best));
  for (; i < count; ++i) result = in[i] > result ? in[i] : result;
  return result;
}

void RotateHalves(const float* in, std::size_t pairs, const float* c, const float* s, float* out) {
  const DF d;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t i = 0;
  for (; i + lanes <= pairs; i += lanes) {
    const VF x = hn::LoadU(d, in + i);
    const VF y = hn::LoadU(d, in + pairs + i);
    const VF cosine = hn::LoadU(d, c + i);
    const VF sine = hn::LoadU(d, s + i);
    hn::StoreU(hn::Sub(hn::Mul(x, cosine), hn::Mul(y, sine)), d, out + i);
    hn::StoreU(hn::Add(hn::Mul(y, cosine), hn::Mul(x, sine)), d, out + pairs + i);
  }
  for (; i < pairs; ++i) {
    const float x = in[i];
    const float y = in[pairs + i];
    out[i] = x * c[i] - y * s[i];
    out[pairs + i] = y * c[i] + x * s[i];
  }
}

void RotateInterleaved(const float* in, std::size_t pairs, const float* c, const float* s,
                       float* out) {
  for (std::size_t i = 0; i < pairs; ++i) {
    const float x = in[2 * i];
    const float y = in[2 * i + 1];
    out[2 * i] = x * c[i] - y * s[i];
    out[2 * i + 1] = y * c[i] + x * s[i];
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(RmsNorm);
HWY_EXPORT(LayerNorm);
HWY_EXPORT(Add);
HWY_EXPORT(Multiply);
HWY_EXPORT(AddScalar);
HWY_EXPORT(Scale);
HWY_EXPORT(Clamp);
HWY_EXPORT(AddScaled);
HWY_EXPORT(Dot);
HWY_EXPORT(Largest);
HWY_EXPORT(RotateHalves);
HWY_EXPORT(RotateInterleaved);

void rms_norm(const float* in, std::size_t count, float epsilon, const float* weight,
              const float* bias, float* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(RmsNorm)(in, count, epsilon, weight, bias, out);
}

void layer_norm(const float* in, std::size_t count, float epsilon, const float* weight,
                const float* bias, float* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(LayerNorm)(in, count, epsilon, weight, bias, out);
}

void add(const float* a, const float* b, std::size_t count, float* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(Add)(a, b, count, out);
}

void multiply(const float* a, const float* b, std::size_t count, float* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(Multiply)(a, b, count, out);
}

void add_scalar(const float* in, std::size_t count, float value, float* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(AddScalar)(in, count, value, out);
}

void scale(const float* in, std::size_t count, float factor, float* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(Scale)(in, count, factor, out);
}

void clamp(const float* in, std::size_t count, float limit, float* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(Clamp)(in, count, limit, out);
}

void add_scaled(const float* in, std::size_t count, float factor, float* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(AddScaled)(in, count, factor, out);
}

float dot(const float* a, const float* b, std::size_t count) {
  prepare_kernels();
  return HWY_DYNAMIC_DISPATCH(Dot)(a, b, count);
}

float largest(const float* in, std::size_t count) {
  prepare_kernels();
  return HWY_DYNAMIC_DISPATCH(Largest)(in, count);
}

void rotate_halves(const float* in, std::size_t pairs, const float* c, const float* s, float* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(RotateHalves)(in, pairs, c, s, out);
}

void rotate_interleaved(const float* in, std::size_t pairs, const float* c, const float* s,
                        float* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(RotateInterleaved)(in, pairs, c, s, out);
}

}  // namespace qwodel
#endif  // HWY_ONCE
