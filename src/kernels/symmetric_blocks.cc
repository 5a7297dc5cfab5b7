#include "kernels/symmetric_blocks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/symmetric_blocks.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include "core/half.h"
#include "kernels/dispatch.h"
#include "kernels/lanes-inl.h"
#include "kernels/symmetric_search-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

constexpr std::size_t kSize = 16;       // values of a sub-block
constexpr std::size_t kSubBlocks = 16;  // of a super-block

struct SymmetricParameters {
  VF scale[kSubBlocks];
  VF weight_sum[kSubBlocks];
  // The codes of a sub-block whose scale is rounded to zero: those of the search, which are kept
  // (Q3_K without importance), or follow from inverse, or are 0 where the sub-block is zero.
  HWY_ALIGN float inverse[kSubBlocks][kMaxLanes];
  HWY_ALIGN float zero[kSubBlocks][kMaxLanes];
  HWY_ALIGN std::uint8_t kept[kSubBlocks * kSize * kMaxLanes];
  VI scale_code[kSubBlocks];
  VF block_scale;
  MF empty;  // lanes whose block is stored as zero bytes
};

// Q3_K without importance.
HWY_INLINE void FitByDescent(int levels, const BlockGroup& group, SymmetricParameters& p) {
  const std::size_t n = LaneCount();
  const std::size_t size = kDescents * kSize;
  HWY_ALIGN float x[kDescents * kSize * kMaxLanes];
  HWY_ALIGN float code[kDescents * kSize * kMaxLanes];
  for (std::size_t s = 0; s < kSubBlocks; s += kDescents) {
    LoadTransposed(group.values.data(), s * kSize, size, x);
    DescendSymmetric(x, kSize, levels, code, p.scale + s);
    for (std::size_t i = 0; i < size; ++i) {
      const VF shifted = hn::Add(LoadLanes(code + i * n), Set(static_cast<float>(levels)));
      StoreBytes(hn::ConvertTo(DI(), shifted), p.kept + (s * kSize + i) * n);
    }
  }
}

HWY_INLINE VF SuperBlockSpread(const BlockGroup& group) {
  HWY_ALIGN float x[kSize * kMaxLanes];
  VF sum = Zero();
  for (std::size_t s = 0; s < kSubBlocks; ++s) {
    LoadTransposed(group.values.data(), s * kSize, kSize, x);
    for (std::size_t i = 0; i < kSize; ++i) {
      const VF value = LoadLanes(x + i * LaneCount());
      sum = hn::Add(sum, hn::Mul(value, value));
    }
  }
  return hn::Mul(hn::Add(sum, sum), Set(1.0f / 256));
}

// Q6_K: importance, or x^2. Q3_K: importance * sqrt(2 * mean square of the super-block + x^2).
HWY_INLINE void FillWeights(const SymmetricRecipe& recipe, const BlockGroup& group,
                            std::size_t first, VF spread, SymmetricValues& v) {
  const bool weighted = group.importance[0] != nullptr;
  if (weighted) LoadTransposed(group.importance.data(), first, v.size, v.weight);
  if (weighted && recipe.kind == SymmetricKind::q6_k) return;
  for (std::size_t i = 0; i < v.size; ++i) {
    float* weight = v.weight + i * LaneCount();
    const VF x = LoadLanes(v.x + i * LaneCount());
    const VF square = hn::Mul(x, x);
    StoreLanes(weighted ? hn::Mul(LoadLanes(weight), hn::Sqrt(hn::Add(spread, square))) : square,
               weight);
  }
}

HWY_INLINE void FitBySearch(const SymmetricRecipe& recipe, const BlockGroup& group,
                            SymmetricParameters& p) {
  SymmetricValues v;
  v.size = kSize;
  const VF spread = recipe.kind == SymmetricKind::q3_k ? SuperBlockSpread(group) : Zero();
  for (std::size_t s = 0; s < kSubBlocks; ++s) {
    LoadTransposed(group.values.data(), s * kSize, kSize, v.x);
    FillWeights(recipe, group, s * kSize, spread, v);
    VF sum = Zero();
    for (std::size_t i = 0; i < kSize; ++i) {
      sum = hn::Add(sum, LoadLanes(v.weight + i * LaneCount()));
    }
    p.weight_sum[s] = sum;
    const SymmetricFit fit = SearchSymmetric<false>(v, recipe.levels);
    p.scale[s] = fit.scale;
    StoreLanes(fit.inverse, p.inverse[s]);
    StoreLanes(SelectOrZero(fit.zero, Set(1.0f)), p.zero[s]);
  }
}

// The scale of the largest magnitude gets code -levels; 1 / inverse is the block's scale.
HWY_INLINE void RoundScales(const SymmetricRecipe& recipe, SymmetricParameters& p) {
  const DI di;
  VF peak = Zero();
  VF magnitude = Zero();
  for (std::size_t s = 0; s < kSubBlocks; ++s) {
    const MF larger = hn::Gt(hn::Abs(p.scale[s]), magnitude);
    Replace(larger, hn::Abs(p.scale[s]), &magnitude);
    Replace(larger, p.scale[s], &peak);
  }
  const int levels = recipe.scale_levels;
  const bool is_q3 = recipe.kind == SymmetricKind::q3_k;
  p.empty = is_q3 ? hn::Eq(peak, Zero()) : hn::Lt(magnitude, Set(kZeroBlock));
  const VF inverse = hn::Div(Set(static_cast<float>(-levels)), peak);
  p.block_scale = hn::IfThenZeroElse(p.empty, hn::Div(Set(1.0f), inverse));
  const VI empty_code = hn::Set(di, is_q3 ? -levels : 0);
  for (std::size_t s = 0; s < kSubBlocks; ++s) {
    VI code = NearestIntBits(hn::Mul(inverse, p.scale[s]));
    // Q6_K clamps, then stores a signed byte; Q3_K the other way round.
    if (!is_q3) code = hn::Min(code, hn::Set(di, levels - 1));
    code = hn::ShiftRight<24>(hn::ShiftLeft<24>(code));
    if (is_q3) code = hn::Max(hn::Set(di, -levels), hn::Min(code, hn::Set(di, levels - 1)));
    p.scale_code[s] = hn::IfThenElse(hn::RebindMask(di, p.empty), empty_code, code);
  }
}

// Q3_K with importance: the scales are themselves a block of make_qx_quants.
HWY_INLINE void SearchScales(int levels, SymmetricParameters& p) {
  const DI di;
  SymmetricValues v;
  v.size = kSubBlocks;
  for (std::size_t s = 0; s < kSubBlocks; ++s) {
    StoreLanes(p.scale[s], v.x + s * LaneCount());
    StoreLanes(p.weight_sum[s], v.weight + s * LaneCount());
  }
  const SymmetricFit fit = SearchSymmetric<true>(v, levels);
  p.block_scale = fit.scale;
  p.empty = hn::Lt(Zero(), Zero());
  for (std::size_t s = 0; s < kSubBlocks; ++s) {
    const VI code = NearestIntClamped(hn::Mul(fit.inverse, p.scale[s]), -levels, levels - 1);
    p.scale_code[s] = hn::IfThenElse(hn::RebindMask(di, fit.zero), hn::Set(di, -levels), code);
  }
}

// Codes of a sub-block whose scale is zero.
HWY_INLINE void CodesOfSearch(const SymmetricRecipe& recipe, const SymmetricParameters& p,
                              bool descended, const float* x, std::size_t s, std::size_t lane,
                              std::uint8_t* codes) {
  if (descended) {
    for (std::size_t i = 0; i < kSize; ++i) {
      codes[i] = p.kept[(s * kSize + i) * LaneCount() + lane];
    }
    return;
  }
  const int levels = recipe.levels;
  const VI offset = hn::Set(DI(), p.zero[s][lane] != 0.0f ? 0 : levels);
  for (std::size_t i = 0; i < kSize; i += LaneCount()) {
    VI code =
        NearestIntClamped(hn::Mul(Set(p.inverse[s][lane]), LoadLanes(x + i)), -levels, levels - 1);
    if (p.zero[s][lane] != 0.0f) code = hn::Zero(DI());
    StoreBytes(hn::Add(code, offset), codes + i);
  }
}

HWY_INLINE void WriteCodes(const SymmetricRecipe& recipe, const SymmetricParameters& p,
                           bool descended, const float* x, std::size_t lane, SymmetricBlock& out) {
  const float scale = half_to_float(out.scale);
  const VI offset = hn::Set(DI(), recipe.levels);
  for (std::size_t s = 0; s < kSubBlocks; ++s) {
    const float d = scale * static_cast<float>(out.scales[s]);
    const float* values = x + s * kSize;
    std::uint8_t* codes = out.codes.data() + s * kSize;
    if (d == 0.0f) {
      CodesOfSearch(recipe, p, descended, values, s, lane, codes);
      continue;
    }
    for (std::size_t i = 0; i < kSize; i += LaneCount()) {
      const VI code = NearestIntClamped(hn::Div(LoadLanes(values + i), Set(d)), -recipe.levels,
                                        recipe.levels - 1);
      StoreBytes(hn::Add(code, offset), codes + i);
    }
  }
}

std::size_t FitSymmetricBlocks(const SymmetricRecipe& recipe, const BlockRows& rows,
                               std::size_t first, SymmetricBlock* out) {
  const BlockGroup group(rows, first, LaneCount());
  const bool weighted = group.importance[0] != nullptr;
  const bool is_q3 = recipe.kind == SymmetricKind::q3_k;
  const bool descended = is_q3 && !weighted;
  SymmetricParameters p;
  if (descended) {
    FitByDescent(recipe.levels, group, p);
  } else {
    FitBySearch(recipe, group, p);
  }
  if (is_q3 && weighted) {
    SearchScales(recipe.scale_levels, p);
  } else {
    RoundScales(recipe, p);
  }
  HWY_ALIGN float block_scale[kMaxLanes], empty[kMaxLanes];
  StoreLanes(p.block_scale, block_scale);
  StoreLanes(SelectOrZero(p.empty, Set(1.0f)), empty);
  for (std::size_t s = 0; s < kSubBlocks; ++s) {
    std::int8_t scales[kMaxLanes];
    hn::StoreU(hn::DemoteTo(DI8(), p.scale_code[s]), DI8(), scales);
    for (std::size_t lane = 0; lane < group.count; ++lane) out[lane].scales[s] = scales[lane];
  }
  for (std::size_t lane = 0; lane < group.count; ++lane) {
    out[lane].scale = float_to_half(block_scale[lane]);
    if (!is_q3 && empty[lane] != 0.0f) {
      out[lane].codes = {};
    } else {
      WriteCodes(recipe, p, descended, group.values[lane], lane, out[lane]);
    }
  }
  return group.count;
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(FitSymmetricBlocks);

std::size_t fit_symmetric_blocks(const SymmetricRecipe& recipe, const BlockRows& rows,
                                 std::size_t first, SymmetricBlock* out) {
  prepare_kernels();
  return HWY_DYNAMIC_DISPATCH(FitSymmetricBlocks)(recipe, rows, first, out);
}

}  // namespace qwodel
#endif  // HWY_ONCE
