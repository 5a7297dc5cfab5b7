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

inline constexpr std::size_t kBlock = 32;

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

void round_to_bytes(const float* values, std::size_t blocks, std::byte* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(RoundToBytes)(values, blocks, out);
}

void bytes_to_floats(const std::byte* in, std::size_t blocks, float* values) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(BytesToFloats)(in, blocks, values);
}

}  // namespace qwodel
#endif  // HWY_ONCE
