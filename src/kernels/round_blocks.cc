#include "kernels/round_blocks.h"

#include <cmath>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/round_blocks.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include "core/half.h"
#include "kernels/dispatch.h"
#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

constexpr std::size_t kBlock = 32;

HWY_INLINE float LargestMagnitude(const float* x) {
  VF largest = Zero();
  for (std::size_t i = 0; i < kBlock; i += LaneCount()) {
    largest = hn::Max(largest, hn::Abs(LoadLanes(x + i)));
  }
  return hn::GetLane(hn::MaxOfLanes(DF(), largest));
}

// 1 / scale; 0 where it is infinite: the reference's codes, converted from infinity, become 0.
HWY_INLINE float InverseOrZero(float scale) {
  const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
  return std::isinf(inverse) ? 0.0f : inverse;
}

// roundf: halves away from zero. Adding the largest float below one half, then truncating, is exact
// for |v| < 2^22: the sum reaches the next integer precisely when v is a half or more.
HWY_INLINE VI RoundHalfAway(VF v) {
  const VF half = hn::CopySign(Set(0x1.fffffep-2f), v);
  return hn::ConvertTo(DI(), hn::Add(v, half));
}

void RoundToBytes(const float* values, std::size_t blocks, std::byte* out) {
  for (std::size_t b = 0; b < blocks; ++b) {
    const float* x = values + b * kBlock;
    std::byte* block = out + b * 34;
    const float scale = LargestMagnitude(x) / 127.0f;
    const VF inverse = Set(InverseOrZero(scale));
    const std::uint16_t half = float_to_half(scale);
    std::memcpy(block, &half, sizeof(half));
    auto* codes = reinterpret_cast<std::int8_t*>(block + 2);
    for (std::size_t i = 0; i < kBlock; i += LaneCount()) {
      const VI code = RoundHalfAway(hn::Mul(LoadLanes(x + i), inverse));
      hn::StoreU(hn::DemoteTo(DI8(), code), DI8(), codes + i);
    }
  }
}

// The value of the largest magnitude; the first of equals counts.
HWY_INLINE float Peak(const float* x) {
  const float magnitude = LargestMagnitude(x);
  for (std::size_t i = 0; i < kBlock; i += LaneCount()) {
    const VF value = LoadLanes(x + i);
    const auto found = hn::FindFirstTrue(DF(), hn::Eq(hn::Abs(value), Set(magnitude)));
    if (found >= 0) return x[i + static_cast<std::size_t>(found)];
  }
  return 0.0f;
}

// Codes min(top, trunc((x - origin) * inverse + bias)).
HWY_INLINE void StoreCodes(const float* x, float origin, float inverse, float bias, int top,
                           std::uint8_t* codes) {
  for (std::size_t i = 0; i < kBlock; i += LaneCount()) {
    const VF scaled = hn::Mul(hn::Sub(LoadLanes(x + i), Set(origin)), Set(inverse));
    const VI code = hn::ConvertTo(DI(), hn::Add(scaled, Set(bias)));
    StoreBytes(hn::Min(code, hn::Set(DI(), top)), codes + i);
  }
}

void RoundSymmetric(const float* values, std::size_t blocks, int levels, SmallBlock* out) {
  const auto count = static_cast<float>(levels);
  for (std::size_t b = 0; b < blocks; ++b) {
    const float* x = values + b * kBlock;
    // Not Peak's -0 for a block of zeros: the reference starts from +0.
    const float peak = Peak(x);
    const float scale = (peak == 0.0f ? 0.0f : peak) / -count;
    const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
    out[b].scale = float_to_half(scale);
    out[b].minimum = 0;
    if (std::isinf(inverse)) {
      out[b].codes = {};
    } else {
      StoreCodes(x, 0.0f, inverse, count + 0.5f, 2 * levels - 1, out[b].codes.data());
    }
  }
}

struct Range {
  float min, max;
};

HWY_INLINE Range RangeOf(const float* x) {
  VF min = LoadLanes(x);
  VF max = min;
  for (std::size_t i = LaneCount(); i < kBlock; i += LaneCount()) {
    min = hn::Min(min, LoadLanes(x + i));
    max = hn::Max(max, LoadLanes(x + i));
  }
  Range range{hn::GetLane(hn::MinOfLanes(DF(), min)), hn::GetLane(hn::MaxOfLanes(DF(), max))};
  if (range.min == 0.0f) {
    // The first zero of the block counts, for its sign is stored.
    for (std::size_t i = kBlock; i-- > 0;) {
      if (x[i] == 0.0f) range.min = x[i];
    }
  }
  return range;
}

void RoundAffine(const float* values, std::size_t blocks, int levels, SmallBlock* out) {
  for (std::size_t b = 0; b < blocks; ++b) {
    const float* x = values + b * kBlock;
    const Range range = RangeOf(x);
    const float scale = (range.max - range.min) / static_cast<float>(levels);
    const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
    out[b].scale = float_to_half(scale);
    out[b].minimum = float_to_half(range.min);
    if (std::isinf(inverse) || std::isinf(scale)) {
      out[b].codes = {};
    } else {
      StoreCodes(x, range.min, inverse, 0.5f, levels, out[b].codes.data());
    }
  }
}

void BytesToFloats(const std::byte* in, std::size_t blocks, float* values) {
  for (std::size_t b = 0; b < blocks; ++b) {
    std::uint16_t half;
    std::memcpy(&half, in + b * 34, sizeof(half));
    const VF scale = Set(half_to_float(half));
    const auto* codes = reinterpret_cast<const std::int8_t*>(in + b * 34 + 2);
    for (std::size_t i = 0; i < kBlock; i += LaneCount()) {
      StoreLanes(hn::Mul(ToFloat(LoadSignedBytes(codes + i)), scale), values + b * kBlock + i);
    }
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(RoundToBytes);
HWY_EXPORT(BytesToFloats);
HWY_EXPORT(RoundSymmetric);
HWY_EXPORT(RoundAffine);

void round_to_bytes(const float* values, std::size_t blocks, std::byte* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(RoundToBytes)(values, blocks, out);
}

void bytes_to_floats(const std::byte* in, std::size_t blocks, float* values) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(BytesToFloats)(in, blocks, values);
}

void round_symmetric(const float* values, std::size_t blocks, int levels, SmallBlock* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(RoundSymmetric)(values, blocks, levels, out);
}

void round_affine(const float* values, std::size_t blocks, int levels, SmallBlock* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(RoundAffine)(values, blocks, levels, out);
}

}  // namespace qwodel
#endif  // HWY_ONCE
