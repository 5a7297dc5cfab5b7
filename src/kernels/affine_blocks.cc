#include "kernels/affine_blocks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/affine_blocks.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include "core/half.h"
#include "kernels/affine_search-inl.h"
#include "kernels/dispatch.h"
#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

// What the search leaves, per sub-block.
struct AffineParameters {
  VF scale[kMaxSubBlocks], minimum[kMaxSubBlocks];  // minimum >= 0: the amount subtracted
  VF weight_sum[kMaxSubBlocks];
  HWY_ALIGN float inverse[kMaxSubBlocks][kMaxLanes];
  HWY_ALIGN float origin[kMaxSubBlocks][kMaxLanes];
  VI scale_code[kMaxSubBlocks], minimum_code[kMaxSubBlocks];
  VF block_scale, block_minimum;
};

HWY_INLINE VF SuperBlockSpread(const AffineRecipe& recipe, const BlockGroup& group,
                               AffineValues& v) {
  VF sum = Zero();
  for (std::size_t s = 0; s < kSuperBlock; s += v.size) {
    LoadTransposed(group.values.data(), s, v.size, v.x);
    for (std::size_t i = 0; i < v.size; ++i) {
      const VF x = LoadLanes(v.x + i * LaneCount());
      sum = hn::Add(sum, hn::Mul(x, x));
    }
  }
  return hn::Mul(hn::Mul(Set(recipe.spread), sum), Set(1.0f / 256));
}

HWY_INLINE void WeightsFromImportance(const BlockGroup& group, std::size_t first, VF spread,
                                      AffineValues& v) {
  LoadTransposed(group.importance.data(), first, v.size, v.weight);
  for (std::size_t i = 0; i < v.size; ++i) {
    float* weight = v.weight + i * LaneCount();
    const VF x = LoadLanes(v.x + i * LaneCount());
    const VF root = hn::Sqrt(hn::Add(spread, hn::Mul(x, x)));
    StoreLanes(hn::Mul(LoadLanes(weight), root), weight);
  }
}

HWY_INLINE void WeightsFromValues(bool absolute, AffineValues& v) {
  const VF mean = hn::Mul(SumOfSquares(v.x, v.size), Set(1.0f / static_cast<float>(v.size)));
  const VF root = hn::Sqrt(mean);
  for (std::size_t i = 0; i < v.size; ++i) {
    const VF magnitude = hn::Abs(LoadLanes(v.x + i * LaneCount()));
    StoreLanes(absolute ? magnitude : hn::Add(root, magnitude), v.weight + i * LaneCount());
  }
}

HWY_INLINE void FitSubBlocks(const AffineRecipe& recipe, const BlockGroup& group,
                             AffineParameters& p) {
  AffineValues v;
  v.size = recipe.sub_block;
  const bool weighted = group.importance[0] != nullptr;
  const VF spread = weighted ? SuperBlockSpread(recipe, group, v) : Zero();
  const AffineTrials own_trials{recipe.first_trial, recipe.trial_step, recipe.trial_steps};
  const AffineTrials trials = weighted ? kTrialsWithImportance : own_trials;
  for (std::size_t s = 0; s < kSuperBlock / v.size; ++s) {
    LoadTransposed(group.values.data(), s * v.size, v.size, v.x);
    if (weighted) {
      WeightsFromImportance(group, s * v.size, spread, v);
    } else {
      WeightsFromValues(recipe.absolute, v);
    }
    const AffineFit fit =
        weighted ? SearchAffine<false, Rounding::kClampThenRound>(v, recipe.levels, trials)
        : recipe.absolute
            ? SearchAffine<true, Rounding::kRoundThenClamp>(v, recipe.levels, trials)
            : SearchAffine<false, Rounding::kRoundThenClamp>(v, recipe.levels, trials);
    p.scale[s] = fit.scale;
    p.minimum[s] = hn::Neg(fit.low);
    p.weight_sum[s] = fit.weight_sum;
    StoreLanes(fit.inverse, p.inverse[s]);
    StoreLanes(fit.origin, p.origin[s]);
  }
}

// Without importance: the largest scale (or minimum) gets the highest code.
HWY_INLINE VF RoundScales(const VF* x, std::size_t count, int levels, VI* codes) {
  const VF top = Set(static_cast<float>(levels));
  VF max = Zero();
  for (std::size_t s = 0; s < count; ++s) max = KeepHigher(max, x[s]);
  const VF inverse = SelectOrZero(hn::Gt(max, Zero()), hn::Div(top, max));
  for (std::size_t s = 0; s < count; ++s) codes[s] = NearestIntBits(hn::Mul(inverse, x[s]));
  return hn::Div(max, top);
}

// Scale and minimum are nibbles of one byte: what leaves the lower one reaches the upper one.
HWY_INLINE void ShareBytes(std::size_t count, AffineParameters& p) {
  for (std::size_t s = 0; s < count; ++s) {
    const VI byte = WrapToByte(hn::Or(p.scale_code[s], hn::ShiftLeft<4>(p.minimum_code[s])));
    p.scale_code[s] = hn::And(byte, hn::Set(DI(), 15));
    p.minimum_code[s] = hn::ShiftRight<4>(byte);
  }
}

// Codes s < 4 share a byte with the upper two bits of s + 4: what leaves six bits reaches those.
HWY_INLINE void ShareUpperBits(VI* codes) {
  const DI di;
  for (std::size_t s = 0; s < 4; ++s) {
    const VI upper = hn::ShiftLeft<6>(hn::ShiftRight<4>(codes[s + 4]));
    const VI byte = WrapToByte(hn::Or(codes[s], upper));
    codes[s] = hn::And(byte, hn::Set(di, 63));
    codes[s + 4] =
        hn::Or(hn::And(codes[s + 4], hn::Set(di, 15)), hn::ShiftLeft<4>(hn::ShiftRight<6>(byte)));
  }
}

HWY_INLINE void QuantizeScales(const AffineRecipe& recipe, bool weighted, AffineParameters& p) {
  const std::size_t count = kSuperBlock / recipe.sub_block;
  const int levels = recipe.scale_levels;
  if (weighted) {
    p.block_scale = SearchScales(p.scale, p.weight_sum, count, levels, p.scale_code);
    p.block_minimum = SearchScales(p.minimum, p.weight_sum, count, levels, p.minimum_code);
  } else {
    p.block_scale = RoundScales(p.scale, count, levels, p.scale_code);
    p.block_minimum = RoundScales(p.minimum, count, levels, p.minimum_code);
  }
  if (levels == 15) {
    ShareBytes(count, p);
  } else if (weighted && !recipe.clamps_searched_scales) {
    ShareUpperBits(p.scale_code);
    ShareUpperBits(p.minimum_code);
  } else {
    const VI top = hn::Set(DI(), levels);
    for (std::size_t s = 0; s < count; ++s) {
      p.scale_code[s] = hn::Min(top, WrapToByte(p.scale_code[s]));
      p.minimum_code[s] = hn::Min(top, WrapToByte(p.minimum_code[s]));
    }
  }
}

// Codes of `count` values under scale and minimum: round((x + minimum) / scale).
HWY_INLINE void RoundToCodes(const float* x, std::size_t count, float scale, float minimum,
                             int levels, std::uint8_t* codes) {
  for (std::size_t i = 0; i < count; i += LaneCount()) {
    const VF shifted = hn::Add(LoadLanes(x + i), Set(minimum));
    StoreBytes(NearestIntClamped(hn::Div(shifted, Set(scale)), 0, levels), codes + i);
  }
}

// A sub-block whose scale is rounded to zero keeps the codes of the search.
HWY_INLINE void CodesOfSearch(bool weighted, const float* x, std::size_t count, float inverse,
                              float origin, int levels, std::uint8_t* codes) {
  for (std::size_t i = 0; i < count; i += LaneCount()) {
    const VF scaled = hn::Mul(Set(inverse), hn::Sub(LoadLanes(x + i), Set(origin)));
    const VF code = weighted ? RoundToCode<Rounding::kClampThenRound>(scaled, levels)
                             : RoundToCode<Rounding::kRoundThenClamp>(scaled, levels);
    StoreBytes(hn::ConvertTo(DI(), code), codes + i);
  }
}

HWY_INLINE void WriteBlock(const AffineRecipe& recipe, bool weighted, const AffineParameters& p,
                           const float* x, std::size_t lane, AffineBlock& out) {
  const float scale = half_to_float(out.scale);
  const float minimum = half_to_float(out.minimum);
  const std::size_t size = recipe.sub_block;
  for (std::size_t s = 0; s < kSuperBlock / size; ++s) {
    const float d = scale * static_cast<float>(out.scales[s]);
    std::uint8_t* codes = out.codes.data() + s * size;
    if (d == 0.0f) {
      CodesOfSearch(weighted, x + s * size, size, p.inverse[s][lane], p.origin[s][lane],
                    recipe.levels, codes);
    } else {
      const float m = minimum * static_cast<float>(out.mins[s]);
      RoundToCodes(x + s * size, size, d, m, recipe.levels, codes);
    }
  }
}

std::size_t FitAffineBlocks(const AffineRecipe& recipe, const BlockRows& rows, std::size_t first,
                            AffineBlock* out) {
  const BlockGroup group(rows, first, LaneCount());
  AffineParameters p{};
  FitSubBlocks(recipe, group, p);
  const bool weighted = group.importance[0] != nullptr;
  QuantizeScales(recipe, weighted, p);
  HWY_ALIGN float block_scale[kMaxLanes], block_minimum[kMaxLanes];
  StoreLanes(p.block_scale, block_scale);
  StoreLanes(p.block_minimum, block_minimum);
  for (std::size_t s = 0; s < kSuperBlock / recipe.sub_block; ++s) {
    std::uint8_t scales[kMaxLanes], mins[kMaxLanes];
    StoreBytes(p.scale_code[s], scales);
    StoreBytes(p.minimum_code[s], mins);
    for (std::size_t lane = 0; lane < group.count; ++lane) {
      out[lane].scales[s] = scales[lane];
      out[lane].mins[s] = mins[lane];
    }
  }
  for (std::size_t lane = 0; lane < group.count; ++lane) {
    out[lane].scale = float_to_half(block_scale[lane]);
    out[lane].minimum = float_to_half(block_minimum[lane]);
    WriteBlock(recipe, weighted, p, group.values[lane], lane, out[lane]);
  }
  return group.count;
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(FitAffineBlocks);

std::size_t fit_affine_blocks(const AffineRecipe& recipe, const BlockRows& rows, std::size_t first,
                              AffineBlock* out) {
  prepare_kernels();
  return HWY_DYNAMIC_DISPATCH(FitAffineBlocks)(recipe, rows, first, out);
}

}  // namespace qwodel
#endif  // HWY_ONCE
