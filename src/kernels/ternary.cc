#include "kernels/ternary.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ternary.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include <cstring>

#include "kernels/dispatch.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, 16>;

// Level of each lane, as int32. |value * inverse| is below 1.5, so two comparisons round it.
template <class D, class V = hn::Vec<D>>
HWY_INLINE hn::Vec<hn::RebindToSigned<D>> levels(D d, const float* values, V inverse) {
  const hn::RebindToSigned<D> di;
  const V scaled = hn::Mul(hn::LoadU(d, values), inverse);
  const auto above = hn::VecFromMask(di, hn::RebindMask(di, hn::Ge(scaled, hn::Set(d, 0.5f))));
  const auto below = hn::VecFromMask(di, hn::RebindMask(di, hn::Le(scaled, hn::Set(d, -0.5f))));
  return hn::Add(hn::Sub(below, above), hn::Set(di, 1));
}

// REQUIRES: every lane of `codes` is 0 .. 255.
template <class D, class VI>
HWY_INLINE void store_bytes(D /*d*/, VI codes, std::uint8_t* out) {
  const hn::Rebind<std::uint8_t, D> d8;
  hn::StoreU(hn::DemoteTo(d8, codes), d8, out);
}

template <class D>
HWY_INLINE hn::Vec<hn::RebindToSigned<D>> load_bytes(D /*d*/, const std::uint8_t* in) {
  const hn::Rebind<std::uint8_t, D> d8;
  return hn::PromoteTo(hn::RebindToSigned<D>(), hn::LoadU(d8, in));
}

// (level - 1) * scale, the product the format defines: a zero takes the sign of `scale`.
template <class D, class VI, class V = hn::Vec<D>>
HWY_INLINE void store_levels(D d, VI level, V scale, float* values) {
  const hn::RebindToSigned<D> di;
  hn::StoreU(hn::Mul(hn::ConvertTo(d, hn::Sub(level, hn::Set(di, 1))), scale), d, values);
}

float MaxMagnitude(const float* values, std::size_t count) {
  const DF d;
  auto largest = hn::Zero(d);
  for (std::size_t i = 0; i < count; i += hn::Lanes(d)) {
    largest = hn::Max(largest, hn::Abs(hn::LoadU(d, values + i)));
  }
  return hn::GetLane(hn::MaxOfLanes(d, largest));
}

void PackBitPairPlanes(const float* values, float inverse, std::size_t width, std::uint8_t* out) {
  const DF d;
  const auto factor = hn::Set(d, inverse);
  for (std::size_t m = 0; m < width; m += hn::Lanes(d)) {
    auto codes = levels(d, values + m, factor);
    codes = hn::Or(codes, hn::ShiftLeft<2>(levels(d, values + width + m, factor)));
    codes = hn::Or(codes, hn::ShiftLeft<4>(levels(d, values + 2 * width + m, factor)));
    codes = hn::Or(codes, hn::ShiftLeft<6>(levels(d, values + 3 * width + m, factor)));
    store_bytes(d, codes, out + m);
  }
}

void UnpackBitPairPlanes(const std::uint8_t* in, float scale, std::size_t width, float* values) {
  const DF d;
  const auto factor = hn::Set(d, scale);
  const auto mask = hn::Set(hn::RebindToSigned<DF>(), 3);
  for (std::size_t m = 0; m < width; m += hn::Lanes(d)) {
    const auto codes = load_bytes(d, in + m);
    store_levels(d, hn::And(codes, mask), factor, values + m);
    store_levels(d, hn::And(hn::ShiftRight<2>(codes), mask), factor, values + width + m);
    store_levels(d, hn::And(hn::ShiftRight<4>(codes), mask), factor, values + 2 * width + m);
    store_levels(d, hn::ShiftRight<6>(codes), factor, values + 3 * width + m);
  }
}

template <class D>
HWY_INLINE void PackTrits(D d, const float* values, float inverse, std::size_t planes,
                          std::size_t width, std::uint8_t* out) {
  const hn::RebindToUnsigned<D> du;
  const hn::RebindToSigned<D> di;
  const auto factor = hn::Set(d, inverse);
  for (std::size_t m = 0; m < width; m += hn::Lanes(d)) {
    auto number = hn::Zero(di);
    for (std::size_t n = 0; n < 5; ++n) {
      number = hn::Add(number, hn::ShiftLeft<1>(number));
      if (n < planes) number = hn::Add(number, levels(d, values + n * width + m, factor));
    }
    // x / 243 = x * 69043 >> 24 for x <= 242 * 256 + 242, without overflow.
    const auto padded = hn::Add(hn::ShiftLeft<8>(number), hn::Set(di, 242));
    const auto product = hn::Mul(hn::BitCast(du, padded), hn::Set(du, 69043u));
    store_bytes(d, hn::BitCast(di, hn::ShiftRight<24>(product)), out + m);
  }
}

void PackTritPlanes(const float* values, float inverse, std::size_t planes, std::size_t width,
                    std::uint8_t* out) {
  if (width < 16) {
    PackTrits(hn::CappedTag<float, 4>(), values, inverse, planes, width, out);
  } else {
    PackTrits(DF(), values, inverse, planes, width, out);
  }
}

template <class D>
HWY_INLINE void UnpackTrits(D d, const std::uint8_t* in, float scale, std::size_t planes,
                            std::size_t width, float* values) {
  const hn::RebindToSigned<D> di;
  const auto factor = hn::Set(d, scale);
  for (std::size_t m = 0; m < width; m += hn::Lanes(d)) {
    auto rest = load_bytes(d, in + m);
    for (std::size_t n = 0; n < planes; ++n) {
      const auto tripled = hn::Add(rest, hn::ShiftLeft<1>(rest));
      store_levels(d, hn::ShiftRight<8>(tripled), factor, values + n * width + m);
      rest = hn::And(tripled, hn::Set(di, 255));
    }
  }
}

void UnpackTritPlanes(const std::uint8_t* in, float scale, std::size_t planes, std::size_t width,
                      float* values) {
  if (width < 16) {
    UnpackTrits(hn::CappedTag<float, 4>(), in, scale, planes, width, values);
  } else {
    UnpackTrits(DF(), in, scale, planes, width, values);
  }
}

void PackBitPairs(const float* values, float inverse, std::size_t count, std::uint8_t* out) {
  const DF d;
  const hn::RebindToSigned<DF> di;
  const auto factor = hn::Set(d, inverse);
  alignas(64) std::uint8_t bytes[64];
  for (std::size_t i = 0; i < count; i += 64) {
    for (std::size_t j = 0; j < 64; j += hn::Lanes(d)) {
      store_bytes(d, levels(d, values + i + j, factor), bytes + j);
    }
    // Four levels lie in the four bytes of a word: fold their low bits together.
    for (std::size_t j = 0; j < 16; j += hn::Lanes(d)) {
      auto word = hn::Load(di, reinterpret_cast<const std::int32_t*>(bytes + 4 * j));
      word = hn::Or(word, hn::ShiftRight<6>(word));
      word = hn::And(hn::Or(word, hn::ShiftRight<12>(word)), hn::Set(di, 255));
      store_bytes(d, word, out + i / 4 + j);
    }
  }
}

void UnpackBitPairs(const std::uint8_t* in, float scale, std::size_t count, float* values) {
  // At least 4 lanes, so that whole bytes feed a vector, but on one-lane targets.
  const DF d;
  const hn::RebindToUnsigned<DF> du;
  const hn::RebindToSigned<DF> di;
  const std::size_t lanes = hn::Lanes(d);
  const auto factor = hn::Set(d, scale);
  const auto shifts = hn::ShiftLeft<1>(hn::Iota(du, 0));
  for (std::size_t i = 0; i < count; i += 16) {
    std::uint32_t word;
    std::memcpy(&word, in + i / 4, 4);
    for (std::size_t j = 0; j < 16; j += lanes) {
      const auto codes = hn::Shr(hn::Set(du, word >> (2 * j)), shifts);
      store_levels(d, hn::BitCast(di, hn::And(codes, hn::Set(du, 3u))), factor, values + i + j);
    }
  }
}

void PackSigns(const float* values, std::size_t count, std::uint8_t* out) {
  const DF d;
  const std::size_t lanes = hn::Lanes(d);
  for (std::size_t i = 0; i < count; i += 32) {
    std::uint32_t word = 0;
    for (std::size_t j = 0; j < 32; j += lanes) {
      std::uint8_t bytes[8] = {};
      hn::StoreMaskBits(d, hn::Ge(hn::LoadU(d, values + i + j), hn::Zero(d)), bytes);
      word |= static_cast<std::uint32_t>(bytes[0] | bytes[1] << 8) << j;
    }
    std::memcpy(out + i / 8, &word, 4);
  }
}

void UnpackSigns(const std::uint8_t* in, float scale, std::size_t count, float* values) {
  const DF d;
  const hn::RebindToUnsigned<DF> du;
  const std::size_t lanes = hn::Lanes(d);
  const auto positive = hn::Set(d, scale);
  const auto negative = hn::Neg(positive);
  const auto lane_bit = hn::Shl(hn::Set(du, 1u), hn::Iota(du, 0));
  for (std::size_t i = 0; i < count; i += 32) {
    std::uint32_t word;
    std::memcpy(&word, in + i / 8, 4);
    for (std::size_t j = 0; j < 32; j += lanes) {
      const auto set = hn::RebindMask(d, hn::TestBit(hn::Set(du, word >> j), lane_bit));
      hn::StoreU(hn::IfThenElse(set, positive, negative), d, values + i + j);
    }
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(MaxMagnitude);
HWY_EXPORT(PackBitPairPlanes);
HWY_EXPORT(UnpackBitPairPlanes);
HWY_EXPORT(PackTritPlanes);
HWY_EXPORT(UnpackTritPlanes);
HWY_EXPORT(PackBitPairs);
HWY_EXPORT(UnpackBitPairs);
HWY_EXPORT(PackSigns);
HWY_EXPORT(UnpackSigns);

float max_magnitude(const float* values, std::size_t count) {
  prepare_kernels();
  return HWY_DYNAMIC_DISPATCH(MaxMagnitude)(values, count);
}

void pack_bit_pair_planes(const float* values, float inverse, std::size_t width,
                          std::uint8_t* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(PackBitPairPlanes)(values, inverse, width, out);
}

void unpack_bit_pair_planes(const std::uint8_t* in, float scale, std::size_t width, float* values) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(UnpackBitPairPlanes)(in, scale, width, values);
}

void pack_trit_planes(const float* values, float inverse, std::size_t planes, std::size_t width,
                      std::uint8_t* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(PackTritPlanes)(values, inverse, planes, width, out);
}

void unpack_trit_planes(const std::uint8_t* in, float scale, std::size_t planes, std::size_t width,
                        float* values) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(UnpackTritPlanes)(in, scale, planes, width, values);
}

void pack_bit_pairs(const float* values, float inverse, std::size_t count, std::uint8_t* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(PackBitPairs)(values, inverse, count, out);
}

void unpack_bit_pairs(const std::uint8_t* in, float scale, std::size_t count, float* values) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(UnpackBitPairs)(in, scale, count, values);
}

void pack_signs(const float* values, std::size_t count, std::uint8_t* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(PackSigns)(values, count, out);
}

void unpack_signs(const std::uint8_t* in, float scale, std::size_t count, float* values) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(UnpackSigns)(in, scale, count, values);
}

}  // namespace qwodel
#endif  // HWY_ONCE
