#include "kernels/point_blocks.h"

#include <algorithm>
#include <bit>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/point_blocks.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include "core/half.h"
#include "kernels/codebook_search-inl.h"
#include "kernels/dispatch.h"
#include "kernels/lanes-inl.h"
#include "kernels/magnitudes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

inline constexpr std::size_t kMaxTrials = 32;
inline constexpr std::size_t kMaxGroups = 8;  // in a part

// One part under all trial scales: [group][trial], the trials padded by repeating the last.
struct Trials {
  std::size_t count;
  HWY_ALIGN float inverse[kMaxTrials], scale[kMaxTrials];
  HWY_ALIGN std::int32_t slot[kMaxGroups + 1][kMaxTrials];  // of the rounded levels
  HWY_ALIGN std::int32_t point[kMaxGroups][kMaxTrials];     // chosen
  HWY_ALIGN float product[kMaxTrials], norm[kMaxTrials];
};

struct PartValues {
  const float* x;
  const float* weight;
  const float* root;
  std::size_t size;
};

template <class Shape>
HWY_INLINE void RoundTrials(const PointRecipe& recipe, const PartValues& part, float reach,
                            Trials& trials) {
  trials.count = 2 * static_cast<std::size_t>(recipe.trials) + 1;
  for (std::size_t t = 0; t < kMaxTrials; ++t) {
    const int step = std::min(static_cast<int>(t) - recipe.trials, recipe.trials);
    trials.inverse[t] =
        static_cast<float>(2 * Shape::kTop + 1) + static_cast<float>(step) * recipe.trial_step;
  }
  for (std::size_t t = 0; t < trials.count; t += LaneCount()) {
    const VF inverse = hn::Div(LoadLanes(trials.inverse + t), Set(reach));
    StoreLanes(inverse, trials.inverse + t);
    StoreLanes(hn::Div(Set(1.0f), inverse), trials.scale + t);
    for (std::size_t k = 0; k < part.size / Shape::kWidth; ++k) {
      hn::Store(RoundToSlot<Shape>(inverse, part.x + k * Shape::kWidth), DI(), trials.slot[k] + t);
    }
  }
}

template <class Shape>
HWY_INLINE GroupValues ValuesOfGroup(const PartValues& part, std::size_t k) {
  GroupValues group{part.x + k * Shape::kWidth, part.root + k * Shape::kWidth, 0.0f};
  float square_sum = 0.0f;
  for (std::size_t i = 0; i < Shape::kWidth; ++i) {
    square_sum += group.weight[i] * group.x[i] * group.x[i];
  }
  group.margin = std::max(square_sum * 0x1p-13f, 0x1p-100f);
  return group;
}

// values[first ... last] = value.
HWY_INLINE void FillTrials(std::int32_t* values, std::size_t first, std::size_t last,
                           std::int32_t value) {
  const DI di;
  if constexpr (hn::MaxLanes(DI()) < 8) {
    std::fill(values + first, values + last + 1, value);
  } else {
    const VI before = hn::Set(di, static_cast<int>(first) - 1);
    const VI after = hn::Set(di, static_cast<int>(last) + 1);
    for (std::size_t t = 0; t < kMaxTrials; t += LaneCount()) {
      const VI at = hn::Iota(di, static_cast<int>(t));
      const auto inside = hn::And(hn::Gt(at, before), hn::Lt(at, after));
      hn::Store(hn::IfThenElse(inside, hn::Set(di, value), hn::Load(di, values + t)), di,
                values + t);
    }
  }
}

// Trials first ... last of a group, whose rounded levels are the same.
struct Run {
  std::uint32_t list;
  std::uint16_t length;
  std::uint8_t group, first, last;
};

// Chooses the points of all trials of a part.
//
// The difference of two points' distances is scale * (a * scale - b): where one point is nearer
// than another under two scales, it is nearer under all between. Rounding changes nothing of that
// if it is nearer by a margin at both ends. With u = 2^-24, d a distance, c the sum of weight *
// x^2: a computed distance is off by no more than 15 u (d + c); the scales of a part differ by less
// than a half, so that between the ends d + c is below 4.5 times its value at one end, and a
// difference above half of that at an end. Hence a margin of 270 u * 4.5 (d + c) < 2^-13 (d + c) is
// enough, or 2^-100 where products might be subnormal.
template <class Shape>
class PointSearch {
 public:
  PointSearch(const CodebookView& codebook, const PartValues& part, Trials& trials)
      : codebook_(codebook), trials_(trials) {
    for (std::size_t k = 0; k < part.size / Shape::kWidth; ++k) {
      groups_[k] = ValuesOfGroup<Shape>(part, k);
      StartRuns(k);
    }
  }

  // Ends first, all of them, since they do not wait for each other; then the middles of what is
  // still open.
  HWY_INLINE void Search() {
    for (std::size_t i = 0; i < run_count_; ++i) {
      SearchTrial(runs_[i], runs_[i].first);
      if (runs_[i].last != runs_[i].first) SearchTrial(runs_[i], runs_[i].last);
    }
    while (run_count_ != 0) {
      const std::size_t count = run_count_;
      Run open[kMaxGroups * kMaxTrials];
      std::size_t open_count = 0;
      for (std::size_t i = 0; i < count; ++i) {
        if (!Settle(runs_[i])) open[open_count++] = runs_[i];
      }
      run_count_ = 0;
      for (std::size_t i = 0; i < open_count; ++i) {
        const auto middle = static_cast<std::uint8_t>((open[i].first + open[i].last) / 2);
        SearchTrial(open[i], middle);
        runs_[run_count_] = open[i];
        runs_[run_count_++].last = middle;
        runs_[run_count_] = open[i];
        runs_[run_count_++].first = middle;
      }
    }
  }

 private:
  HWY_INLINE void StartRuns(std::size_t k) {
    const std::int32_t* const slots = trials_.slot[k];
    std::uint32_t ends = RunEnds(slots);
    for (unsigned first = 0; ends != 0; ends &= ends - 1) {
      const auto last = static_cast<unsigned>(std::countr_zero(ends));
      const CodebookEntry& entry = codebook_.entries[slots[first]];
      const std::size_t fill_to = last + 1 < trials_.count ? last : kMaxTrials - 1;
      FillTrials(trials_.point[k], first, fill_to, codebook_.points[entry.number]);
      runs_[run_count_] = {entry.list, entry.length, static_cast<std::uint8_t>(k),
                           static_cast<std::uint8_t>(first), static_cast<std::uint8_t>(last)};
      run_count_ += entry.length != 0 ? 1 : 0;
      first = last + 1;
    }
  }

  // Bit t is set if the slot after trial t is another.
  HWY_INLINE std::uint32_t RunEnds(const std::int32_t* slots) const {
    const DI di;
    std::uint32_t ends = 0;
    for (std::size_t t = 0; t < kMaxTrials; t += LaneCount()) {
      const auto same = hn::Eq(hn::Load(di, slots + t), hn::LoadU(di, slots + t + 1));
      std::uint8_t bits[8] = {};
      hn::StoreMaskBits(di, hn::Not(same), bits);
      ends |= static_cast<std::uint32_t>(bits[0] | bits[1] << 8) << t;
    }
    const std::uint32_t last = 1u << (trials_.count - 1);
    return (ends & (last - 1)) | last;
  }

  HWY_INLINE void SearchTrial(const Run& run, std::size_t t) {
    const ListChoice choice = NearestOfList<Shape>(groups_[run.group], trials_.scale[t],
                                                   {codebook_.lists + run.list, run.length});
    trials_.point[run.group][t] = choice.point;
    clear_[run.group][t] = choice.clear;
  }

  // Whether the trials between the ends are known.
  HWY_INLINE bool Settle(const Run& run) {
    std::int32_t* const points = trials_.point[run.group];
    const bool* const clear = clear_[run.group];
    if (run.last - run.first < 2) return true;
    if (points[run.first] != points[run.last]) return false;
    if (!clear[run.first] || !clear[run.last]) return false;
    FillTrials(points, run.first, run.last, points[run.first]);
    return true;
  }

  const CodebookView& codebook_;
  Trials& trials_;
  GroupValues groups_[kMaxGroups];
  bool clear_[kMaxGroups][kMaxTrials];
  Run runs_[kMaxGroups * kMaxTrials];
  std::size_t run_count_ = 0;
};

// Sums of weight * x * q and weight * q * q, q the odd integers, under each trial.
template <class Shape>
HWY_INLINE void SumTrials(const PartValues& part, Trials& trials) {
  for (std::size_t t = 0; t < trials.count; t += LaneCount()) {
    VF product = Zero(), norm = Zero();
    for (std::size_t k = 0; k < part.size / Shape::kWidth; ++k) {
      VI packed = hn::Load(DI(), trials.point[k] + t);
      for (std::size_t i = k * Shape::kWidth; i < (k + 1) * Shape::kWidth; ++i) {
        const VF q = OddOfLevel<Shape>(packed);
        const VF w = Set(part.weight[i]);
        product = hn::Add(product, hn::Mul(hn::Mul(w, Set(part.x[i])), q));
        norm = hn::Add(norm, hn::Mul(hn::Mul(w, q), q));
        packed = hn::ShiftRight<Shape::kBits>(packed);
      }
    }
    StoreLanes(product, trials.product + t);
    StoreLanes(norm, trials.norm + t);
  }
}

// What is decided about one part.
struct PartChoice {
  float scale;
  std::array<std::uint16_t, kMaxGroups> points;
  std::array<bool, kMaxGroups> search_again;
};

// The trial that explains most; without one, levels of 0 under the given scale.
template <class Shape>
HWY_INLINE PartChoice BestTrial(const PointRecipe& recipe, const CodebookView& codebook,
                                const Trials& trials, std::size_t groups, float scale) {
  PartChoice choice{scale, {}, {}};
  float best = 0.0f;
  std::size_t chosen = kMaxTrials;
  for (std::size_t t = 0; t < trials.count; ++t) {
    const float product = trials.product[t];
    const float norm = trials.norm[t];
    if (norm > 0.0f && product * product > best * norm) {
      choice.scale = product / norm;
      best = choice.scale * product;
      chosen = t;
    }
  }
  bool any_off = chosen == kMaxTrials;
  for (std::size_t k = 0; chosen < kMaxTrials && k < groups; ++k) {
    choice.points[k] = static_cast<std::uint16_t>(trials.point[k][chosen]);
    choice.search_again[k] = codebook.entries[trials.slot[k][chosen]].length != 0;
    any_off = any_off || choice.search_again[k];
  }
  if (recipe.final_search == FinalSearch::always ||
      (recipe.final_search == FinalSearch::whole_part && any_off)) {
    choice.search_again.fill(true);
  }
  return choice;
}

template <class Shape>
HWY_INLINE void SearchAgain(const CodebookView& codebook, const PartValues& part,
                            PartChoice& choice) {
  const std::size_t groups = part.size / Shape::kWidth;
  std::uint8_t levels[kMaxPart + kMaxLanes];
  for (std::size_t i = 0; i < part.size; i += LaneCount()) {
    const VI level = RoundToLevel<Shape>(Set(1.0f / choice.scale), LoadLanes(part.x + i));
    StoreBytes(level, levels + i);
  }
  bool any = false;
  for (std::size_t k = 0; k < groups; ++k) {
    if (!choice.search_again[k]) continue;
    any = true;
    unsigned slot = 0;
    for (std::size_t i = Shape::kWidth; i-- > 0;) {
      slot = slot * Shape::kBase + levels[k * Shape::kWidth + i];
    }
    const CodebookEntry& entry = codebook.entries[slot];
    if (entry.length == 0) {
      choice.points[k] = codebook.points[entry.number];
    } else {
      choice.points[k] = NearestOfList<Shape>(ValuesOfGroup<Shape>(part, k), choice.scale,
                                              {codebook.lists + entry.list, entry.length})
                             .point;
    }
  }
  if (!any) return;
  float product = 0.0f, norm = 0.0f;
  for (std::size_t k = 0; k < groups; ++k) {
    for (std::size_t i = 0; i < Shape::kWidth; ++i) {
      const unsigned level = choice.points[k] >> Shape::kBits * i & ((1u << Shape::kBits) - 1);
      const auto q = static_cast<float>(2 * level + 1);
      const float w = part.weight[k * Shape::kWidth + i];
      product += w * part.x[k * Shape::kWidth + i] * q;
      norm += w * q * q;
    }
  }
  if (norm > 0.0f) choice.scale = product / norm;
}

// Writes points and signs of a part; returns its scale, not negative.
template <class Shape>
HWY_INLINE float FitPart(const PointRecipe& recipe, const CodebookView& codebook,
                         const MagnitudeBlock& block, std::size_t p, PointBlock& out) {
  const std::size_t first = p * recipe.part;
  const PartValues part{block.x + first, block.weight + first, block.root + first, recipe.part};
  Trials trials;
  RoundTrials<Shape>(recipe, part, block.reach[p], trials);
  PointSearch<Shape>(codebook, part, trials).Search();
  SumTrials<Shape>(part, trials);
  const std::size_t groups = recipe.part / Shape::kWidth;
  const float start =
      recipe.fit_reach ? block.scale[p] : block.reach[p] / static_cast<float>(2 * Shape::kTop + 1);
  PartChoice choice = BestTrial<Shape>(recipe, codebook, trials, groups, start);
  if (choice.scale > 0.0f) SearchAgain<Shape>(codebook, part, choice);
  const bool mirrored = choice.scale < 0.0f;
  for (std::size_t k = 0; k < groups; ++k) {
    const unsigned slot = codebook_slot(Shape::kWidth, choice.points[k]);
    out.points[p * groups + k] = codebook.entries[slot].number;
  }
  for (std::size_t k = first / 8; k < (first + recipe.part) / 8; ++k) {
    out.signs[k] = static_cast<std::uint8_t>(mirrored ? ~block.signs[k] : block.signs[k]);
  }
  return mirrored ? -choice.scale : choice.scale;
}

// The reference's nearest_int, with what it gives out of range.
HWY_INLINE int NearestInt(float v) {
  const auto bits = std::bit_cast<std::uint32_t>(v + 12582912.0f);
  return static_cast<int>(bits & 0x007FFFFFu) - 0x00400000;
}

// See PointRecipe::closes_gaps.
HWY_INLINE void CloseGaps(const MagnitudeBlock& block, std::size_t part, std::size_t width,
                          PointBlock& out) {
  const PointBlock fitted = out;
  out.signs.fill(0);
  for (std::uint16_t& number : out.points) number &= 0x100u;
  std::size_t to = 0;
  for (std::size_t p = 0; p < kPointBlock / part; ++p) {
    if (!(block.reach[p] > 0.0f)) continue;
    for (std::size_t k = 0; k < part / width; ++k) {
      const unsigned low = fitted.points[p * part / width + k] & 0xFFu;
      std::uint16_t& number = out.points[to * part / width + k];
      number = static_cast<std::uint16_t>(number | low);
    }
    for (std::size_t k = 0; k < part / 8; ++k) {
      out.signs[to * part / 8 + k] = fitted.signs[p * part / 8 + k];
    }
    ++to;
  }
}

template <class Shape>
HWY_INLINE void FitBlock(const PointRecipe& recipe, const CodebookView& codebook,
                         const MagnitudeBlock& block, PointBlock& out) {
  out = {};
  float scales[16] = {};
  const std::size_t parts = kPointBlock / recipe.part;
  for (std::size_t p = 0; p < parts; ++p) {
    if (block.reach[p] > 0.0f) scales[p] = FitPart<Shape>(recipe, codebook, block, p, out);
  }
  if (recipe.closes_gaps) CloseGaps(block, recipe.part, Shape::kWidth, out);
  const float largest = *std::max_element(scales, scales + parts);
  if (!(largest > 0.0f)) {
    // The encodings that store seven signs of eight store nothing at all here.
    if (recipe.even_signs) out = {};
    return;
  }
  const float d = largest / 31.0f;
  const float inverse = 1.0f / d;
  out.scale = float_to_half(d * recipe.fudge);
  for (std::size_t p = 0; p < parts; ++p) {
    const int code = NearestInt(0.5f * (inverse * scales[p] - 1.0f));
    out.scales[p] = static_cast<std::uint8_t>(std::clamp(code, 0, 15));
  }
}

std::size_t FitPointBlocks(const PointRecipe& recipe, const CodebookView& codebook,
                           const BlockRows& rows, std::size_t first, PointBlock* out) {
  const BlockGroup group(rows, first, kPointBatch);
  MagnitudeBlock blocks[kPointBatch];
  for (std::size_t b = 0; b < group.count; ++b) {
    Prepare(recipe, group.values[b], group.importance[b], blocks[b]);
  }
  if (recipe.fit_reach) FitReach(blocks, group.count);
  for (std::size_t b = 0; b < group.count; ++b) {
    if (codebook.width == 8) {
      FitBlock<EightOfThree>(recipe, codebook, blocks[b], out[b]);
    } else {
      FitBlock<FourOfEight>(recipe, codebook, blocks[b], out[b]);
    }
  }
  return group.count;
}

void ScaleLevels(const std::int8_t* levels, const float* scales, std::size_t count,
                 std::size_t group, float* values) {
  for (std::size_t first = 0; first < count; first += group) {
    const VF scale = Set(*scales++);
    for (std::size_t i = first; i < first + group; i += LaneCount()) {
      StoreLanes(hn::Mul(scale, ToFloat(LoadSignedBytes(levels + i))), values + i);
    }
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(FitPointBlocks);
HWY_EXPORT(ScaleLevels);

std::size_t fit_point_blocks(const PointRecipe& recipe, const CodebookView& codebook,
                             const BlockRows& rows, std::size_t first, PointBlock* out) {
  prepare_kernels();
  return HWY_DYNAMIC_DISPATCH(FitPointBlocks)(recipe, codebook, rows, first, out);
}

void scale_levels(const std::int8_t* levels, const float* scales, std::size_t count,
                  std::size_t group, float* values) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(ScaleLevels)(levels, scales, count, group, values);
}

}  // namespace qwodel
#endif  // HWY_ONCE
