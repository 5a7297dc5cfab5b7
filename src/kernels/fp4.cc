#include "kernels/fp4.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/fp4.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include "kernels/dispatch.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, 16>;

void GroupMagnitudes(const float* values, std::size_t groups, std::size_t group_size, float* out) {
  const DF d;
  for (std::size_t g = 0; g < groups; ++g, values += group_size) {
    auto largest = hn::Zero(d);
    for (std::size_t i = 0; i < group_size; i += hn::Lanes(d)) {
      largest = hn::Max(largest, hn::Abs(hn::LoadU(d, values + i)));
    }
    out[g] = hn::GetLane(hn::MaxOfLanes(d, largest));
  }
}

// Halfway points between neighbouring magnitudes, times the scale. They are exact, and so is which
// side of them a value lies on: the comparison decides as the two rounded distances would.
template <class D>
struct Thresholds {
  hn::Vec<D> at[7];

  HWY_INLINE explicit Thresholds(float scale) {
    constexpr float kHalfway[7] = {0.5f, 1.5f, 2.5f, 3.5f, 5.0f, 7.0f, 10.0f};
    for (int i = 0; i < 7; ++i) at[i] = hn::Set(D(), kHalfway[i] * scale);
  }
};

template <class D>
HWY_INLINE hn::Vec<hn::RebindToSigned<D>> nearest_codes(D d, const float* values,
                                                        const Thresholds<D>& thresholds) {
  const hn::RebindToSigned<D> di;
  const auto value = hn::LoadU(d, values);
  const auto magnitude = hn::Abs(value);
  auto code = hn::Zero(di);
  for (const auto& threshold : thresholds.at) {
    code = hn::Sub(code, hn::VecFromMask(di, hn::RebindMask(di, hn::Gt(magnitude, threshold))));
  }
  const auto negative = hn::RebindMask(di, hn::Lt(value, hn::Neg(thresholds.at[0])));
  return hn::Or(code, hn::IfThenElseZero(negative, hn::Set(di, 8)));
}

template <class D>
HWY_INLINE void EncodeGroup(D d, const float* values, float scale, std::size_t half,
                            std::uint8_t* codes) {
  const hn::Rebind<std::uint8_t, D> d8;
  const Thresholds<D> thresholds(scale);
  for (std::size_t j = 0; j < half; j += hn::Lanes(d)) {
    const auto low = nearest_codes(d, values + j, thresholds);
    const auto high = nearest_codes(d, values + half + j, thresholds);
    hn::StoreU(hn::DemoteTo(d8, hn::Or(low, hn::ShiftLeft<4>(high))), d8, codes + j);
  }
}

void EncodeE2m1(const float* values, const float* scales, std::size_t blocks,
                const E2m1Layout& layout, std::uint8_t* codes) {
  const std::size_t half = layout.group_size / 2;
  for (std::size_t b = 0; b < blocks; ++b, codes += layout.block_bytes) {
    std::uint8_t* out = codes;
    for (std::size_t g = 0; g < layout.groups_per_block; ++g) {
      if (half < 16) {
        EncodeGroup(hn::CappedTag<float, 8>(), values, *scales++, half, out);
      } else {
        EncodeGroup(DF(), values, *scales++, half, out);
      }
      values += layout.group_size;
      out += half;
    }
  }
}

template <class D>
HWY_INLINE hn::Vec<D> doubled_values(D d, hn::Vec<hn::Rebind<std::int8_t, D>> codes) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(d, static_cast<float>(kE2m1Doubled[hn::GetLane(codes)]));
#else
  const auto table = hn::LoadU(hn::Full128<std::int8_t>(), kE2m1Doubled);
  const auto value = hn::TableLookupBytes(table, codes);
  return hn::ConvertTo(d, hn::PromoteTo(hn::RebindToSigned<D>(), value));
#endif
}

template <class D>
HWY_INLINE void DecodeGroup(D d, const std::uint8_t* codes, float scale, std::size_t half,
                            float* values) {
  const hn::Rebind<std::uint8_t, D> d8;
  const hn::Rebind<std::int8_t, D> di8;
  const auto factor = hn::Set(d, scale);
  for (std::size_t j = 0; j < half; j += hn::Lanes(d)) {
    const auto bytes = hn::LoadU(d8, codes + j);
    const auto low = hn::BitCast(di8, hn::And(bytes, hn::Set(d8, std::uint8_t{15})));
    const auto high = hn::BitCast(di8, hn::ShiftRight<4>(bytes));
    hn::StoreU(hn::Mul(doubled_values(d, low), factor), d, values + j);
    hn::StoreU(hn::Mul(doubled_values(d, high), factor), d, values + half + j);
  }
}

void DecodeE2m1(const std::uint8_t* codes, const float* scales, std::size_t blocks,
                const E2m1Layout& layout, float* values) {
  const std::size_t half = layout.group_size / 2;
  for (std::size_t b = 0; b < blocks; ++b, codes += layout.block_bytes) {
    const std::uint8_t* in = codes;
    for (std::size_t g = 0; g < layout.groups_per_block; ++g) {
      if (half < 16) {
        DecodeGroup(hn::CappedTag<float, 8>(), in, *scales++, half, values);
      } else {
        DecodeGroup(DF(), in, *scales++, half, values);
      }
      values += layout.group_size;
      in += half;
    }
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(GroupMagnitudes);
HWY_EXPORT(EncodeE2m1);
HWY_EXPORT(DecodeE2m1);

void group_magnitudes(const float* values, std::size_t groups, std::size_t group_size, float* out) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(GroupMagnitudes)(values, groups, group_size, out);
}

void encode_e2m1(const float* values, const float* scales, std::size_t blocks,
                 const E2m1Layout& layout, std::uint8_t* codes) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(EncodeE2m1)(values, scales, blocks, layout, codes);
}

void decode_e2m1(const std::uint8_t* codes, const float* scales, std::size_t blocks,
                 const E2m1Layout& layout, float* values) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(DecodeE2m1)(codes, scales, blocks, layout, values);
}

}  // namespace qwodel
#endif  // HWY_ONCE
