#include "kernels/decode_blocks.h"

#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/decode_blocks.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include "core/half.h"
#include "kernels/dispatch.h"
#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

HWY_INLINE float ReadHalf(const std::byte* from) {
  std::uint16_t half;
  std::memcpy(&half, from, sizeof(half));
  return half_to_float(half);
}

HWY_INLINE VI LowNibbles(VI bytes) { return hn::And(bytes, hn::Set(DI(), 15)); }

// Bit first + lane of `word`, moved to bit 4.
HWY_INLINE VI FifthBits(std::uint32_t word, std::size_t first) {
  const DU du;
  const VU position = hn::Iota(du, static_cast<std::uint32_t>(first));
  const VU bit = hn::And(hn::Shr(hn::Set(du, word), position), hn::Set(du, 1u));
  return hn::BitCast(DI(), hn::ShiftLeft<4>(bit));
}

template <bool kMinimum, bool kFifthBits>
HWY_INLINE void DecodeSmall(int offset, const std::byte* in, std::size_t blocks, float* values) {
  constexpr std::size_t kHeader = (kMinimum ? 4 : 2) + (kFifthBits ? 4 : 0);
  for (std::size_t b = 0; b < blocks; ++b, in += kHeader + 16, values += 32) {
    const VF scale = Set(ReadHalf(in));
    const VF minimum = kMinimum ? Set(ReadHalf(in + 2)) : Zero();
    std::uint32_t word = 0;
    if (kFifthBits) std::memcpy(&word, in + kHeader - 4, sizeof(word));
    const auto* nibbles = reinterpret_cast<const std::uint8_t*>(in + kHeader);
    const auto store = [&](VI code, std::size_t i) {
      if (kFifthBits) code = hn::Or(code, FifthBits(word, i));
      if (!kMinimum) code = hn::Sub(code, hn::Set(DI(), offset));
      const VF scaled = hn::Mul(ToFloat(code), scale);
      StoreLanes(kMinimum ? hn::Add(scaled, minimum) : scaled, values + i);
    };
    for (std::size_t i = 0; i < 16; i += LaneCount()) {
      const VI bytes = LoadBytes(nibbles + i);
      store(LowNibbles(bytes), i);
      store(hn::ShiftRight<4>(bytes), i + 16);
    }
  }
}

void DecodeSmallBlocks(const SmallFormat& format, const std::byte* in, std::size_t blocks,
                       float* values) {
  const auto decode =
      format.has_minimum
          ? (format.has_fifth_bits ? DecodeSmall<true, true> : DecodeSmall<true, false>)
          : (format.has_fifth_bits ? DecodeSmall<false, true> : DecodeSmall<false, false>);
  decode(format.offset, in, blocks, values);
}

void DecodeNibbleSuperBlock(const std::uint8_t* low, const std::uint8_t* high, const float* scales,
                            const float* minimums, float* values) {
  const DI di;
  for (std::size_t s = 0; s < 8; s += 2) {
    const VF scale0 = Set(scales[s]), scale1 = Set(scales[s + 1]);
    const VF minimum0 = Set(minimums[s]), minimum1 = Set(minimums[s + 1]);
    for (std::size_t i = 0; i < 32; i += LaneCount()) {
      const VI bytes = LoadBytes(low + 16 * s + i);
      VI code0 = LowNibbles(bytes);
      VI code1 = hn::ShiftRight<4>(bytes);
      if (high != nullptr) {
        const VI bits = hn::ShiftRightSame(LoadBytes(high + i), static_cast<int>(s));
        code0 = hn::Or(code0, hn::ShiftLeft<4>(hn::And(bits, hn::Set(di, 1))));
        code1 = hn::Or(code1, hn::ShiftLeft<3>(hn::And(bits, hn::Set(di, 2))));
      }
      float* out = values + 32 * s + i;
      StoreLanes(hn::Sub(hn::Mul(scale0, ToFloat(code0)), minimum0), out);
      StoreLanes(hn::Sub(hn::Mul(scale1, ToFloat(code1)), minimum1), out + 32);
    }
  }
}

// table[nibble] of 16 bytes: the lower nibbles, then the upper ones.
HWY_INLINE void LookUpNibbles(const std::uint8_t* codes, const std::int8_t* table,
                              std::int8_t* out) {
#if HWY_TARGET == HWY_SCALAR
  for (std::size_t i = 0; i < 16; ++i) {
    out[i] = table[codes[i] & 15];
    out[i + 16] = table[codes[i] >> 4];
  }
#else
  const hn::FixedTag<std::int8_t, 16> di8;
  const hn::FixedTag<std::uint8_t, 16> du8;
  const auto values = hn::LoadU(di8, table);
  const auto bytes = hn::LoadU(du8, codes);
  const auto low = hn::BitCast(di8, hn::And(bytes, hn::Set(du8, 15)));
  const auto high = hn::BitCast(di8, hn::ShiftRight<4>(bytes));
  hn::StoreU(hn::TableLookupBytes(values, low), di8, out);
  hn::StoreU(hn::TableLookupBytes(values, high), di8, out + 16);
#endif
}

void DecodeTableCodes(const std::uint8_t* codes, const float* scales, std::size_t sub_blocks,
                      const std::int8_t* table, float* values) {
  HWY_ALIGN std::int8_t looked_up[32];
  for (std::size_t s = 0; s < sub_blocks; ++s) {
    LookUpNibbles(codes + 16 * s, table, looked_up);
    const VF scale = Set(scales[s]);
    for (std::size_t i = 0; i < 32; i += LaneCount()) {
      const VF value = ToFloat(LoadSignedBytes(looked_up + i));
      StoreLanes(hn::Mul(scale, value), values + 32 * s + i);
    }
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(DecodeSmallBlocks);
HWY_EXPORT(DecodeNibbleSuperBlock);
HWY_EXPORT(DecodeTableCodes);

void decode_small_blocks(const SmallFormat& format, const std::byte* in, std::size_t blocks,
                         float* values) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(DecodeSmallBlocks)(format, in, blocks, values);
}

void decode_nibble_super_block(const std::uint8_t* low, const std::uint8_t* high,
                               const float* scales, const float* minimums, float* values) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(DecodeNibbleSuperBlock)(low, high, scales, minimums, values);
}

void decode_table_codes(const std::uint8_t* codes, const float* scales, std::size_t sub_blocks,
                        const std::int8_t* table, float* values) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(DecodeTableCodes)(codes, scales, sub_blocks, table, values);
}

}  // namespace qwodel
#endif  // HWY_ONCE
