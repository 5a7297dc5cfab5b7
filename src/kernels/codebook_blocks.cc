#include "kernels/codebook_blocks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/codebook_blocks.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include "core/half.h"
#include "kernels/dispatch.h"
#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

constexpr std::size_t kSize = 32;  // values that share a scale
constexpr std::size_t kCodebookSubBlocks = 8;
constexpr float kZeroBlock = 1e-15f;
constexpr int kTrials = 7;  // to either side of the table's end

// Where code k - 1 ends and code k begins. These are exact in float, and so is the comparison of
// distances in the reference's best_index_int8, so that comparing with them gives the same codes.
// NaN gives the last code there; here every comparison is "not below".
constexpr float threshold(std::size_t k) {
  return 0.5f * static_cast<float>(kCodebook[k - 1] + kCodebook[k]);
}

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3

HWY_INLINE VF Lookup(const float* table, VI index) {
  const DF df;
  return hn::TableLookupLanes(LoadLanes(table), hn::IndicesFromVec(df, index));
}

// The thresholds in the order of a binary search: of four, then eight codes; kPairs: every second.
struct SearchTables {
  HWY_ALIGN float second[16], third[16], last[16];
  HWY_ALIGN float even[16], odd[16];
};

constexpr SearchTables make_tables() {
  SearchTables tables{};
  for (std::size_t i = 0; i < 2; ++i) tables.second[i] = threshold(8 * i + 4);
  for (std::size_t i = 0; i < 4; ++i) tables.third[i] = threshold(4 * i + 2);
  for (std::size_t i = 0; i < 8; ++i) {
    tables.last[i] = threshold(2 * i + 1);
    tables.even[i] = static_cast<float>(kCodebook[2 * i]);
    tables.odd[i] = static_cast<float>(kCodebook[2 * i + 1]);
  }
  return tables;
}
constexpr SearchTables kTables = make_tables();

struct Nearest {
  VI pair;    // code / 2
  MF second;  // code is odd
};

HWY_INLINE VI AppendBit(VI index, MF below) {
  const DI di;
  const VI doubled = hn::Add(index, index);
  return hn::IfThenElse(hn::RebindMask(di, below), doubled, hn::Add(doubled, hn::Set(di, 1)));
}

HWY_INLINE Nearest FindNearest(VF x) {
  const DI di;
  VI index = AppendBit(hn::Zero(di), hn::Lt(x, Set(threshold(8))));
  index = AppendBit(index, hn::Lt(x, Lookup(kTables.second, index)));
  index = AppendBit(index, hn::Lt(x, Lookup(kTables.third, index)));
  return {index, hn::Not(hn::Lt(x, Lookup(kTables.last, index)))};
}

HWY_INLINE VI NearestCode(VF x) {
  const Nearest nearest = FindNearest(x);
  return AppendBit(nearest.pair, hn::Not(nearest.second));
}

HWY_INLINE VF NearestValue(VF x) {
  const Nearest nearest = FindNearest(x);
  return Select(nearest.second, Lookup(kTables.odd, nearest.pair),
                Lookup(kTables.even, nearest.pair));
}

#else

HWY_INLINE VI NearestCode(VF x) {
  VF code = Set(15.0f);
  for (std::size_t k = 1; k < 16; ++k) {
    code = hn::Sub(code, SelectOrZero(hn::Lt(x, Set(threshold(k))), Set(1.0f)));
  }
  return hn::ConvertTo(DI(), code);
}

HWY_INLINE VF NearestValue(VF x) {
  VF value = Set(static_cast<float>(kCodebook[15]));
  for (std::size_t k = 1; k < 16; ++k) {
    const auto step = static_cast<float>(kCodebook[k] - kCodebook[k - 1]);
    value = hn::Sub(value, SelectOrZero(hn::Lt(x, Set(threshold(k))), Set(step)));
  }
  return value;
}

#endif

// One sub-block of each lane: [i * LaneCount() + lane].
struct CodebookValues {
  HWY_ALIGN float x[kSize * kMaxLanes];
  HWY_ALIGN float weight[kSize * kMaxLanes];
};

struct CodebookSums {
  VF qx, q2;
};

HWY_INLINE CodebookSums SumNearest(const CodebookValues& v, VF inverse) {
  CodebookSums sums{Zero(), Zero()};
  for (std::size_t i = 0; i < kSize; ++i) {
    const VF x = LoadLanes(v.x + i * LaneCount());
    const VF wq_base = LoadLanes(v.weight + i * LaneCount());
    const VF q = NearestValue(hn::Mul(inverse, x));
    const VF wq = hn::Mul(wq_base, q);
    sums.qx = hn::Add(sums.qx, hn::Mul(wq, x));
    sums.q2 = hn::Add(sums.q2, hn::Mul(wq, q));
  }
  return sums;
}

// The search of quantize_row_iq4_nl_impl, ggml-quants.c: the largest value goes near either end of
// the table; each trial is refitted by least squares. Returns the scale.
HWY_NOINLINE VF SearchCodebook(const CodebookValues& v) {
  VF peak = Zero();
  VF magnitude = Zero();
  for (std::size_t i = 0; i < kSize; ++i) {
    const VF x = LoadLanes(v.x + i * LaneCount());
    const MF larger = hn::Gt(hn::Abs(x), magnitude);
    Replace(larger, hn::Abs(x), &magnitude);
    Replace(larger, x, &peak);
  }
  const MF zero = hn::Lt(magnitude, Set(kZeroBlock));
  Replace(zero, Set(1.0f), &peak);
  const auto end = static_cast<float>(kCodebook[0]);
  const VF start = hn::Div(hn::Neg(peak), Set(end));
  const CodebookSums base = SumNearest(v, hn::Div(Set(1.0f), start));
  VF scale = SelectOrZero(hn::Gt(base.q2, Zero()), hn::Div(base.qx, base.q2));
  VF best = hn::Mul(scale, base.qx);
  for (int i = -kTrials; i <= kTrials; ++i) {
    const VF inverse = hn::Div(Set(static_cast<float>(i) + end), peak);
    const CodebookSums sums = SumNearest(v, inverse);
    const MF better =
        hn::And(hn::Gt(sums.q2, Zero()), hn::Gt(hn::Mul(sums.qx, sums.qx), hn::Mul(best, sums.q2)));
    Replace(better, hn::Div(sums.qx, sums.q2), &scale);
    Replace(better, hn::Mul(scale, sums.qx), &best);
  }
  return hn::IfThenZeroElse(zero, scale);
}

HWY_INLINE VF BlockSpread(const BlockGroup& group, std::size_t block_size) {
  HWY_ALIGN float x[kSize * kMaxLanes];
  VF sum = Zero();
  for (std::size_t first = 0; first < block_size; first += kSize) {
    LoadTransposed(group.values.data(), first, kSize, x);
    for (std::size_t i = 0; i < kSize; ++i) {
      const VF value = LoadLanes(x + i * LaneCount());
      sum = hn::Add(sum, hn::Mul(value, value));
    }
  }
  return hn::Mul(sum, Set(2.0f / static_cast<float>(block_size)));
}

HWY_INLINE void FillWeights(const BlockGroup& group, std::size_t first, VF spread,
                            CodebookValues& v) {
  const bool weighted = group.importance[0] != nullptr;
  if (weighted) LoadTransposed(group.importance.data(), first, kSize, v.weight);
  for (std::size_t i = 0; i < kSize * LaneCount(); i += LaneCount()) {
    const VF x = LoadLanes(v.x + i);
    const VF square = hn::Mul(x, x);
    const VF root = hn::Sqrt(hn::Add(spread, square));
    StoreLanes(weighted ? hn::Mul(LoadLanes(v.weight + i), root) : square, v.weight + i);
  }
}

HWY_INLINE void WriteCodes(const float* x, float inverse, std::uint8_t* codes) {
  for (std::size_t i = 0; i < kSize; i += LaneCount()) {
    StoreBytes(NearestCode(hn::Mul(Set(inverse), LoadLanes(x + i))), codes + i);
  }
}

struct CodebookParameters {
  VF block_scale;
  VI scale_code[kCodebookSubBlocks];
  HWY_ALIGN float inverse[kCodebookSubBlocks][kMaxLanes];  // code = nearest(inverse * x)
};

HWY_INLINE VF InverseOrZero(VF x) {
  return SelectOrZero(NotEqual(x, Zero()), hn::Div(Set(1.0f), x));
}

// Quantizes the sub-blocks' scales: the largest gets code -32.
HWY_INLINE void QuantizeScales(const VF* scale, std::size_t count, CodebookParameters& p) {
  VF peak = Zero();
  VF magnitude = Zero();
  for (std::size_t s = 0; s < count; ++s) {
    const MF larger = hn::Gt(hn::Abs(scale[s]), magnitude);
    Replace(larger, hn::Abs(scale[s]), &magnitude);
    Replace(larger, scale[s], &peak);
  }
  p.block_scale = hn::Mul(hn::Neg(peak), Set(1.0f / 32));
  const VF inverse = InverseOrZero(p.block_scale);
  for (std::size_t s = 0; s < count; ++s) {
    p.scale_code[s] = NearestIntClamped(hn::Mul(inverse, scale[s]), -32, 31);
    const VF step = hn::Mul(p.block_scale, ToFloat(p.scale_code[s]));
    StoreLanes(InverseOrZero(step), p.inverse[s]);
  }
}

std::size_t FitCodebookBlocks(const BlockRows& rows, std::size_t first, CodebookBlock* out) {
  const BlockGroup group(rows, first, LaneCount());
  const std::size_t count = rows.block_size / kSize;
  const bool weighted = group.importance[0] != nullptr;
  const VF spread = weighted ? BlockSpread(group, rows.block_size) : Zero();
  VF scale[kCodebookSubBlocks];
  CodebookValues v;
  for (std::size_t s = 0; s < count; ++s) {
    LoadTransposed(group.values.data(), s * kSize, kSize, v.x);
    FillWeights(group, s * kSize, spread, v);
    scale[s] = SearchCodebook(v);
  }
  CodebookParameters p;
  if (count > 1) {
    QuantizeScales(scale, count, p);
  } else {
    p.block_scale = scale[0];
    p.scale_code[0] = hn::Zero(DI());
    StoreLanes(InverseOrZero(scale[0]), p.inverse[0]);
  }
  HWY_ALIGN float block_scale[kMaxLanes];
  StoreLanes(p.block_scale, block_scale);
  for (std::size_t s = 0; s < count; ++s) {
    std::int8_t scales[kMaxLanes];
    hn::StoreU(hn::DemoteTo(DI8(), p.scale_code[s]), DI8(), scales);
    for (std::size_t lane = 0; lane < group.count; ++lane) {
      out[lane].scales[s] = scales[lane];
      WriteCodes(group.values[lane] + s * kSize, p.inverse[s][lane],
                 out[lane].codes.data() + s * kSize);
    }
  }
  for (std::size_t lane = 0; lane < group.count; ++lane) {
    out[lane].scale = float_to_half(block_scale[lane]);
  }
  return group.count;
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(FitCodebookBlocks);

std::size_t fit_codebook_blocks(const BlockRows& rows, std::size_t first, CodebookBlock* out) {
  prepare_kernels();
  return HWY_DYNAMIC_DISPATCH(FitCodebookBlocks)(rows, first, out);
}

}  // namespace qwodel
#endif  // HWY_ONCE
