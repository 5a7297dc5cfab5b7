// The vocabulary of kernels that search a block's parameters: one block per lane, so that every
// lane does what the scalar reference does, in its order. Included once per target, after
// highway.h.
//
// Rules: Add and Mul, never MulAdd (the reference rounds after each); sums run over the elements of
// a block one by one; conditions become masks. With one lane (HWY_SCALAR) this is the scalar code.

#if defined(QWODEL_KERNELS_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QWODEL_KERNELS_LANES_INL_H_
#undef QWODEL_KERNELS_LANES_INL_H_
#else
#define QWODEL_KERNELS_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/half.h"
#include "kernels/block_group.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, kMaxLanes>;
using DI = hn::RebindToSigned<DF>;
using DU = hn::RebindToUnsigned<DF>;
using DU8 = hn::Rebind<std::uint8_t, DF>;
using DI8 = hn::Rebind<std::int8_t, DF>;
using VF = hn::Vec<DF>;
using VI = hn::Vec<DI>;
using VU = hn::Vec<DU>;
using MF = hn::Mask<DF>;

HWY_INLINE std::size_t LaneCount() { return hn::Lanes(DF()); }

HWY_INLINE VF Set(float value) { return hn::Set(DF(), value); }
HWY_INLINE VF Zero() { return hn::Zero(DF()); }
HWY_INLINE VF LoadLanes(const float* from) { return hn::LoadU(DF(), from); }
HWY_INLINE void StoreLanes(VF value, float* to) { hn::StoreU(value, DF(), to); }

// mask ? yes : no, and two common cases.
HWY_INLINE VF Select(MF mask, VF yes, VF no) { return hn::IfThenElse(mask, yes, no); }
HWY_INLINE void Replace(MF mask, VF value, VF* target) { *target = Select(mask, value, *target); }
HWY_INLINE VF SelectOrZero(MF mask, VF yes) { return hn::IfThenElseZero(mask, yes); }

HWY_INLINE bool AnyLane(MF mask) { return !hn::AllFalse(DF(), mask); }

// C's a != b: true where either is NaN, which Highway's Ne leaves to the target.
HWY_INLINE MF NotEqual(VF a, VF b) { return hn::Not(hn::Eq(a, b)); }

// The reference's `if (x < low) low = x` and `if (x > high) high = x`: the first of equals stays,
// which decides the sign of a zero.
HWY_INLINE VF KeepLower(VF low, VF x) { return Select(hn::Lt(x, low), x, low); }
HWY_INLINE VF KeepHigher(VF high, VF x) { return Select(hn::Gt(x, high), x, high); }

// Nearest integer, ties to even, as a float. REQUIRES: |v| <= 2^22. May return -0.
HWY_INLINE VF RoundHalfEven(VF v) { return hn::Round(v); }

// The reference's nearest_int for any v: adding 3 * 2^22 leaves the integer in the low mantissa
// bits. Out of range it is what those bits happen to be: 0 for NaN, -2^22 for an infinity.
HWY_INLINE VI NearestIntBits(VF v) {
  const DI di;
  const VI bits = hn::BitCast(di, hn::Add(v, Set(12582912.0f)));
  return hn::Sub(hn::And(bits, hn::Set(di, 0x007FFFFF)), hn::Set(di, 0x00400000));
}

// nearest_int clamped to low ... high.
HWY_INLINE VI NearestIntClamped(VF v, int low, int high) {
  const DI di;
  return hn::Max(hn::Set(di, low), hn::Min(hn::Set(di, high), NearestIntBits(v)));
}

HWY_INLINE VF ToFloat(VI v) { return hn::ConvertTo(DF(), v); }

// Lanes of 0 ... 255 to bytes.
HWY_INLINE void StoreBytes(VI v, std::uint8_t* to) {
  hn::StoreU(hn::DemoteTo(DU8(), v), DU8(), to);
}

// Bytes to lanes.
HWY_INLINE VI LoadBytes(const std::uint8_t* from) {
  return hn::PromoteTo(DI(), hn::LoadU(DU8(), from));
}
HWY_INLINE VI LoadSignedBytes(const std::int8_t* from) {
  return hn::PromoteTo(DI(), hn::LoadU(DI8(), from));
}

#if HWY_TARGET != HWY_SCALAR && !HWY_HAVE_SCALABLE

// Columns first ... first + 3 of the lanes' blocks: 128-bit block b of the k-th vector holds the
// four values of lane 4 b + k, so that a 4x4 transpose inside the blocks finishes the work.
template <class D>
HWY_INLINE hn::Vec<D> LoadQuads(D d, const float* const* lanes, std::size_t k, std::size_t first) {
  if constexpr (hn::MaxLanes(D()) <= 4) {
    return hn::LoadU(d, lanes[k] + first);
  } else {
    const hn::Half<D> half;
    return hn::Combine(d, LoadQuads(half, lanes + hn::MaxLanes(half), k, first),
                       LoadQuads(half, lanes, k, first));
  }
}

HWY_INLINE void TransposeFour(const float* const* lanes, std::size_t first, float* out) {
  const DF df;
  const hn::Repartition<std::uint64_t, DF> du64;
  const VF v0 = LoadQuads(df, lanes, 0, first);
  const VF v1 = LoadQuads(df, lanes, 1, first);
  const VF v2 = LoadQuads(df, lanes, 2, first);
  const VF v3 = LoadQuads(df, lanes, 3, first);
  const auto low01 = hn::BitCast(du64, hn::InterleaveLower(df, v0, v1));
  const auto high01 = hn::BitCast(du64, hn::InterleaveUpper(df, v0, v1));
  const auto low23 = hn::BitCast(du64, hn::InterleaveLower(df, v2, v3));
  const auto high23 = hn::BitCast(du64, hn::InterleaveUpper(df, v2, v3));
  const std::size_t n = hn::Lanes(df);
  StoreLanes(hn::BitCast(df, hn::InterleaveLower(du64, low01, low23)), out);
  StoreLanes(hn::BitCast(df, hn::InterleaveUpper(du64, low01, low23)), out + n);
  StoreLanes(hn::BitCast(df, hn::InterleaveLower(du64, high01, high23)), out + 2 * n);
  StoreLanes(hn::BitCast(df, hn::InterleaveUpper(du64, high01, high23)), out + 3 * n);
}

#else

HWY_INLINE void TransposeFour(const float* const* lanes, std::size_t first, float* out) {
  const std::size_t n = LaneCount();
  for (std::size_t i = 0; i < 4; ++i) {
    for (std::size_t lane = 0; lane < n; ++lane) out[i * n + lane] = lanes[lane][first + i];
  }
}

#endif

// Values first ... first + count - 1 of each lane's block: out[i * LaneCount() + lane].
// REQUIRES: count is a multiple of 4.
HWY_INLINE void LoadTransposed(const float* const* lanes, std::size_t first, std::size_t count,
                               float* out) {
  const std::size_t n = LaneCount();
  for (std::size_t i = 0; i < count; i += 4) TransposeFour(lanes, first + i, out + i * n);
}

// Sum of squares over `count` transposed values, in order.
HWY_INLINE VF SumOfSquares(const float* values, std::size_t count) {
  const std::size_t n = LaneCount();
  VF sum = Zero();
  for (std::size_t i = 0; i < count; ++i) {
    const VF x = LoadLanes(values + i * n);
    sum = hn::Add(sum, hn::Mul(x, x));
  }
  return sum;
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
