// How kernels write the codes of a SmallBlock. Included once per target, after highway.h.

#if defined(QWODEL_KERNELS_SMALL_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QWODEL_KERNELS_SMALL_BLOCKS_INL_H_
#undef QWODEL_KERNELS_SMALL_BLOCKS_INL_H_
#else
#define QWODEL_KERNELS_SMALL_BLOCKS_INL_H_
#endif

#include "kernels/lanes-inl.h"
#include "kernels/round_blocks.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

// The lanes of `codes` above 15, as bits from the lowest.
HWY_INLINE std::uint32_t FifthBits(VI codes) {
  std::uint8_t bytes[8] = {};
  hn::StoreMaskBits(DI(), hn::Gt(codes, hn::Set(DI(), 15)), bytes);
  return static_cast<std::uint32_t>(bytes[0] | bytes[1] << 8);
}

// Codes i ... and 16 + i ... of a block, LaneCount() of each. fifth_bits must be 0 before the first
// call.
HWY_INLINE void PackCodes(VI low, VI high, std::size_t i, SmallBlock& block) {
  const VI nibble = hn::Set(DI(), 15);
  block.fifth_bits |= FifthBits(low) << i | FifthBits(high) << (i + 16);
  const VI byte = hn::Or(hn::And(low, nibble), hn::ShiftLeft<4>(hn::And(high, nibble)));
  StoreBytes(byte, block.nibbles.data() + i);
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
