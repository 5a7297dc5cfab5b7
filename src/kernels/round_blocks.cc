#include "kernels/round_blocks.h"

#include <cmath>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/round_blocks.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include "core/half.h"
#include "kernels/convert.h"
#include "kernels/dispatch.h"
#include "kernels/lanes-inl.h"
#include "kernels/small_blocks-inl.h"

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

struct MaxOf {
  HWY_INLINE VF operator()(VF a, VF b) const { return hn::Max(a, b); }
};
struct MinOf {
  HWY_INLINE VF operator()(VF a, VF b) const { return hn::Min(a, b); }
};

#if HWY_TARGET == HWY_SCALAR

template <class Reduce>
HWY_INLINE VF ReduceEach(Reduce /*reduce*/, const VF* v) {
  return v[0];
}

#else

// Four vectors to one: in each 128-bit block, lane k is the reduction of that block of vector k.
template <class Reduce>
HWY_INLINE VF ReduceQuad(Reduce reduce, const VF* v) {
  const DF df;
  const hn::Repartition<std::uint64_t, DF> du64;
  const auto a = hn::BitCast(
      du64, reduce(hn::InterleaveLower(df, v[0], v[1]), hn::InterleaveUpper(df, v[0], v[1])));
  const auto b = hn::BitCast(
      du64, reduce(hn::InterleaveLower(df, v[2], v[3]), hn::InterleaveUpper(df, v[2], v[3])));
  return reduce(hn::BitCast(df, hn::InterleaveLower(du64, a, b)),
                hn::BitCast(df, hn::InterleaveUpper(du64, a, b)));
}

// Lane k of the result is the reduction of all lanes of vector k. REQUIRES: v holds LaneCount()
// vectors, and LaneCount() is 4, 8 or 16.
template <class Reduce>
HWY_INLINE VF ReduceEach(Reduce reduce, const VF* v) {
  constexpr std::size_t kLanes = hn::MaxLanes(DF());
  const DF df;
  const VF a = ReduceQuad(reduce, v);
  if constexpr (kLanes == 4) return a;
  const VF b = ReduceQuad(reduce, v + 4 % kLanes);
  if constexpr (kLanes == 8) {
    return reduce(hn::ConcatLowerLower(df, b, a), hn::ConcatUpperUpper(df, b, a));
  }
  const VF c = ReduceQuad(reduce, v + 8 % kLanes);
  const VF d = ReduceQuad(reduce, v + 12 % kLanes);
  const VF ac = reduce(hn::ConcatLowerLower(df, c, a), hn::ConcatUpperUpper(df, c, a));
  const VF bd = reduce(hn::ConcatLowerLower(df, d, b), hn::ConcatUpperUpper(df, d, b));
  return reduce(hn::OddEvenBlocks(hn::SwapAdjacentBlocks(bd), ac),
                hn::OddEvenBlocks(bd, hn::SwapAdjacentBlocks(ac)));
}

#endif

// Extremes of up to LaneCount() blocks, one block per lane.
struct GroupRange {
  HWY_ALIGN float min[kMaxLanes];
  HWY_ALIGN float max[kMaxLanes];

  GroupRange(const float* values, std::size_t count) {
    VF low[kMaxLanes], high[kMaxLanes];
    for (std::size_t b = 0; b < LaneCount(); ++b) {
      const float* x = values + (b < count ? b : count - 1) * kBlock;
      low[b] = high[b] = LoadLanes(x);
      for (std::size_t i = LaneCount(); i < kBlock; i += LaneCount()) {
        low[b] = hn::Min(low[b], LoadLanes(x + i));
        high[b] = hn::Max(high[b], LoadLanes(x + i));
      }
    }
    StoreLanes(ReduceEach(MinOf(), low), min);
    StoreLanes(ReduceEach(MaxOf(), high), max);
  }
};

// Scales of a group and their inverses; where the inverse is infinite the reference's codes,
// converted from infinity, become 0.
struct GroupScales {
  HWY_ALIGN float inverse[kMaxLanes];
  std::uint16_t half[kMaxLanes];

  explicit GroupScales(VF scale) {
    HWY_ALIGN float scales[kMaxLanes];
    StoreLanes(scale, scales);
    qwodel::float_to_half(scales, LaneCount(), half);
    StoreLanes(SelectOrZero(NotEqual(scale, Zero()), hn::Div(Set(1.0f), scale)), inverse);
  }
};

// Codes min(top, trunc((x - origin) * inverse + bias)); they fit five bits.
template <bool kOrigin, bool kFifthBit>
HWY_INLINE void StoreCodes(const float* x, float origin, float inverse, float bias, int top,
                           SmallBlock& block) {
  const VF limit = Set(static_cast<float>(top));
  const auto code = [&](std::size_t i) {
    const VF shifted = kOrigin ? hn::Sub(LoadLanes(x + i), Set(origin)) : LoadLanes(x + i);
    return hn::Min(hn::Trunc(hn::Add(hn::Mul(shifted, Set(inverse)), Set(bias))), limit);
  };
  block.fifth_bits = 0;
  for (std::size_t i = 0; i < kBlock / 2; i += LaneCount()) {
    const VF low = code(i);
    const VF high = code(i + kBlock / 2);
    if constexpr (kFifthBit) {
      PackCodes(hn::ConvertTo(DI(), low), hn::ConvertTo(DI(), high), i, block);
    } else {
      const VF byte = hn::Add(low, hn::Mul(high, Set(16.0f)));
      StoreBytes(hn::ConvertTo(DI(), byte), block.nibbles.data() + i);
    }
  }
}

// The value of the largest magnitude; the first of equals counts, and zeros have no sign.
HWY_INLINE float Peak(const float* x, float min, float max) {
  if (max != -min) return max > -min ? max : min;
  if (max == 0.0f) return 0.0f;
  std::size_t i = 0;
  while (x[i] != max && x[i] != min) ++i;
  return x[i];
}

template <bool kFifthBit>
HWY_INLINE void RoundSymmetricBlocks(const float* values, std::size_t blocks, int levels,
                                     SmallBlock* out) {
  const auto count = static_cast<float>(levels);
  for (std::size_t first = 0; first < blocks; first += LaneCount()) {
    const std::size_t lanes = HWY_MIN(LaneCount(), blocks - first);
    const float* group = values + first * kBlock;
    const GroupRange range(group, lanes);
    HWY_ALIGN float peak[kMaxLanes] = {};
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      peak[lane] = Peak(group + lane * kBlock, range.min[lane], range.max[lane]);
    }
    const GroupScales scales(hn::Div(LoadLanes(peak), Set(-count)));
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      SmallBlock& block = out[first + lane];
      block.scale = scales.half[lane];
      block.minimum = 0;
      const float inverse = scales.inverse[lane];
      const bool usable = !std::isinf(inverse);
      StoreCodes<false, kFifthBit>(group + lane * kBlock, 0.0f, usable ? inverse : 0.0f,
                                   usable ? count + 0.5f : 0.0f, 2 * levels - 1, block);
    }
  }
}

void RoundSymmetric(const float* values, std::size_t blocks, int levels, SmallBlock* out) {
  if (levels > 8) {
    RoundSymmetricBlocks<true>(values, blocks, levels, out);
  } else {
    RoundSymmetricBlocks<false>(values, blocks, levels, out);
  }
}

// The first zero of a block whose minimum is zero counts, for its sign is stored.
HWY_INLINE float FirstZero(const float* x) {
  while (*x != 0.0f) ++x;
  return *x;
}

template <bool kFifthBit>
HWY_INLINE void RoundAffineBlocks(const float* values, std::size_t blocks, int levels,
                                  SmallBlock* out) {
  for (std::size_t first = 0; first < blocks; first += LaneCount()) {
    const std::size_t lanes = HWY_MIN(LaneCount(), blocks - first);
    const float* group = values + first * kBlock;
    GroupRange range(group, lanes);
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      if (range.min[lane] != 0.0f) continue;
      range.min[lane] = FirstZero(group + lane * kBlock);
      // Zeros of both signs only: their width is +0, as of one value with itself.
      if (range.max[lane] == 0.0f) range.max[lane] = range.min[lane];
    }
    const VF width = hn::Sub(LoadLanes(range.max), LoadLanes(range.min));
    const GroupScales scales(hn::Div(width, Set(static_cast<float>(levels))));
    std::uint16_t minimum[kMaxLanes];
    qwodel::float_to_half(range.min, LaneCount(), minimum);
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      SmallBlock& block = out[first + lane];
      block.scale = scales.half[lane];
      block.minimum = minimum[lane];
      // An infinite range has inverse 0, and differences that may be infinite: codes 0, too.
      const float inverse = scales.inverse[lane];
      const bool usable = !std::isinf(inverse) && inverse != 0.0f;
      StoreCodes<true, kFifthBit>(group + lane * kBlock, usable ? range.min[lane] : 0.0f,
                                  usable ? inverse : 0.0f, 0.5f, levels, block);
    }
  }
}

void RoundAffine(const float* values, std::size_t blocks, int levels, SmallBlock* out) {
  if (levels > 15) {
    RoundAffineBlocks<true>(values, blocks, levels, out);
  } else {
    RoundAffineBlocks<false>(values, blocks, levels, out);
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
