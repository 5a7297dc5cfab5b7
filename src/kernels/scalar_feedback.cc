#include "kernels/scalar_feedback.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/scalar_feedback.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include "kernels/dispatch.h"
#include "kernels/lanes-inl.h"
#include "kernels/scalar_feedback-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

// The rows of one vector on their way through a chunk.
template <class Levels>
class FeedbackLanes {
 public:
  FeedbackLanes(const ScalarRecipe& recipe, const ChunkFeedback& feedback, const ScalarChunk& chunk,
                std::size_t row)
      : recipe_(recipe), feedback_(feedback), chunk_(chunk), row_(row), levels_(recipe) {
    for (std::size_t i = 0; i < chunk.columns; ++i) inverse_pivots_[i] = 1.0f / feedback.pivots[i];
    for (std::size_t i = 0; i < chunk.columns; ++i) {
      StoreLanes(LoadLanes(At(feedback.weights, i)), Weight(i));
    }
    v_.size = recipe.group;
  }

  void Run() {
    const std::size_t groups = recipe_.block / recipe_.group;
    for (std::size_t block = 0; block < chunk_.columns / recipe_.block; ++block) {
      if (has_codes()) FitBlock(block);
      for (std::size_t g = 0; g < groups; ++g) DecideGroup(block, block * groups + g);
    }
    for (std::size_t i = 0; i < chunk_.columns; ++i) {
      StoreLanes(LoadLanes(Error(i)), At(feedback_.errors, i));
    }
  }

 private:
  // Parameters of a group as they are tried.
  struct Candidate {
    VF scale, minimum;  // as the values see them
    VF scale_code, minimum_code;
  };

  bool has_codes() const { return recipe_.lowest_scale != recipe_.highest_scale; }
  float* At(float* array, std::size_t i) const { return array + i * chunk_.rows + row_; }
  float* Weight(std::size_t i) { return weights_ + i * LaneCount(); }
  float* Error(std::size_t i) { return errors_ + i * LaneCount(); }

  // The values of a group as they are now; rounding a column by e costs (e / pivot)^2.
  void LoadGroup(std::size_t group) {
    for (std::size_t i = 0; i < v_.size; ++i) {
      const std::size_t column = group * v_.size + i;
      const float inverse = inverse_pivots_[column];
      StoreLanes(LoadLanes(Weight(column)), v_.x + i * LaneCount());
      StoreLanes(Set(inverse * inverse), v_.weight + i * LaneCount());
    }
  }

  // Scales of the block from what its groups would like, before any error within it is known.
  void FitBlock(std::size_t block) {
    const std::size_t groups = recipe_.block / recipe_.group;
    VF scale[kScalarGroups], minimum[kScalarGroups], weight[kScalarGroups];
    for (std::size_t g = 0; g < groups; ++g) {
      LoadGroup(block * groups + g);
      const GroupFit fit = FitGroup(recipe_, levels_, v_);
      scale[g] = fit.scale;
      minimum[g] = fit.minimum;
      weight[g] = Zero();
      for (std::size_t i = 0; i < v_.size; ++i) {
        weight[g] = hn::Add(weight[g], LoadLanes(v_.weight + i * LaneCount()));
      }
    }
    VF block_scale, block_minimum = Zero();
    if (recipe_.highest_minimum > 0) {
      VI codes[kScalarGroups];
      block_scale = SearchScales(scale, weight, groups, recipe_.highest_scale, codes);
      block_minimum = SearchScales(minimum, weight, groups, recipe_.highest_minimum, codes);
    } else {
      HWY_ALIGN float x[kScalarGroups * kMaxLanes], w[kScalarGroups * kMaxLanes];
      for (std::size_t g = 0; g < groups; ++g) {
        StoreLanes(scale[g], x + g * LaneCount());
        StoreLanes(weight[g], w + g * LaneCount());
      }
      const IntegerLevels codes(recipe_.lowest_scale, recipe_.highest_scale);
      block_scale = FitScale(x, w, groups, codes, TrialStep(codes));
    }
    StoreLanes(RoundToHalf(block_scale), At(chunk_.scales, block));
    StoreLanes(RoundToHalf(block_minimum), At(chunk_.minimums, block));
  }

  // Of all columns of a group that are rounded one after the other under these parameters: the
  // sum of (error / pivot)^2.
  VF Loss(const Candidate& candidate) {
    const VF inverse = InverseOrZero(candidate.scale);
    const std::size_t n = LaneCount();
    HWY_ALIGN float x[kMaxSubBlock * kMaxLanes];
    std::copy_n(v_.x, v_.size * n, x);
    VF loss = Zero();
    for (std::size_t i = 0; i < v_.size; ++i) {
      const VF value = LoadLanes(x + i * n);
      const VF level = levels_(hn::Mul(hn::Add(value, candidate.minimum), inverse));
      const VF decoded = hn::Sub(hn::Mul(candidate.scale, level), candidate.minimum);
      const VF error = hn::Mul(hn::Sub(value, decoded), Set(inverse_pivots_[first_ + i]));
      loss = hn::Add(loss, hn::Mul(error, error));
      const float* upper = feedback_.upper + (first_ + i) * feedback_.stride + first_;
      for (std::size_t j = i + 1; j < v_.size; ++j) {
        float* at = x + j * n;
        StoreLanes(hn::Sub(LoadLanes(at), hn::Mul(error, Set(upper[j]))), at);
      }
    }
    return loss;
  }

  void Try(const Candidate& candidate) {
    const VF loss = Loss(candidate);
    const MF better = hn::Lt(loss, best_loss_);
    Replace(better, loss, &best_loss_);
    Replace(better, candidate.scale, &best_.scale);
    Replace(better, candidate.minimum, &best_.minimum);
    Replace(better, candidate.scale_code, &best_.scale_code);
    Replace(better, candidate.minimum_code, &best_.minimum_code);
  }

  // The weighted mean of the levels that a fit gives.
  VF MeanLevel(const GroupFit& fit) const {
    VF sum = Zero(), weights = Zero();
    for (std::size_t i = 0; i < v_.size; ++i) {
      const VF weight = LoadLanes(v_.weight + i * LaneCount());
      sum = hn::Add(sum, hn::Mul(weight, LoadLanes(v_.x + i * LaneCount())));
      weights = hn::Add(weights, weight);
    }
    return hn::Mul(hn::Add(hn::Div(sum, weights), fit.minimum), InverseOrZero(fit.scale));
  }

  // Codes about those of the fit; the minimum goes along with the scale, so that the mean stays.
  void TryCodes(std::size_t block, const GroupFit& fit) {
    const VF scale = LoadLanes(At(chunk_.scales, block));
    const VF minimum = LoadLanes(At(chunk_.minimums, block));
    const IntegerLevels scale_codes(recipe_.lowest_scale, recipe_.highest_scale);
    const IntegerLevels minimum_codes(0, recipe_.highest_minimum);
    const VF inverse_minimum = InverseOrZero(minimum);
    const VF nearest = scale_codes(hn::Mul(fit.scale, InverseOrZero(scale)));
    const VF step = hn::Max(Set(1.0f), RoundHalfEven(hn::Mul(hn::Abs(nearest), Set(0.04f))));
    const VF mean = MeanLevel(fit);
    for (int k = -2; k <= 2; ++k) {
      Candidate candidate;
      candidate.scale_code =
          scale_codes(hn::Add(nearest, hn::Mul(step, Set(static_cast<float>(k)))));
      candidate.scale = hn::Mul(scale, candidate.scale_code);
      candidate.minimum = candidate.minimum_code = Zero();
      if (recipe_.highest_minimum == 0) {
        Try(candidate);
        continue;
      }
      const VF shifted = hn::Add(fit.minimum, hn::Mul(hn::Sub(candidate.scale, fit.scale), mean));
      const VF code = minimum_codes(hn::Mul(shifted, inverse_minimum));
      for (int j = -1; j <= 1; ++j) {
        candidate.minimum_code = minimum_codes(hn::Add(code, Set(static_cast<float>(j))));
        candidate.minimum = hn::Mul(minimum, candidate.minimum_code);
        Try(candidate);
      }
    }
  }

  void TryScales(const GroupFit& fit) {
    const VF mean = MeanLevel(fit);
    for (int k = -2; k <= 2; ++k) {
      Candidate candidate;
      candidate.scale_code = Set(1.0f);
      candidate.minimum_code = recipe_.highest_minimum > 0 ? Set(1.0f) : Zero();
      candidate.scale = RoundToHalf(hn::Mul(fit.scale, Set(1.0f + 0.03f * static_cast<float>(k))));
      candidate.minimum = Zero();
      if (recipe_.highest_minimum > 0) {
        candidate.minimum =
            RoundToHalf(hn::Add(fit.minimum, hn::Mul(hn::Sub(candidate.scale, fit.scale), mean)));
      }
      Try(candidate);
    }
  }

  void DecideGroup(std::size_t block, std::size_t group) {
    first_ = group * v_.size;
    LoadGroup(group);
    const GroupFit fit = FitGroup(recipe_, levels_, v_);
    best_loss_ = Set(std::numeric_limits<float>::infinity());
    best_ = {Zero(), Zero(), Zero(), Zero()};
    if (has_codes()) {
      TryCodes(block, fit);
    } else {
      TryScales(fit);
      StoreLanes(best_.scale, At(chunk_.scales, block));
      StoreLanes(best_.minimum, At(chunk_.minimums, block));
    }
    StoreLanes(best_.scale_code, At(chunk_.scale_codes, group));
    StoreLanes(best_.minimum_code, At(chunk_.minimum_codes, group));
    Round();
    PushBeyondGroup();
  }

  // Rounds the columns of the group and lets each make up for those before it.
  void Round() {
    const VF inverse = InverseOrZero(best_.scale);
    for (std::size_t i = first_; i < first_ + v_.size; ++i) {
      const VF value = LoadLanes(Weight(i));
      const VF level = levels_(hn::Mul(hn::Add(value, best_.minimum), inverse));
      const VF decoded = hn::Sub(hn::Mul(best_.scale, level), best_.minimum);
      const VF error = hn::Mul(hn::Sub(value, decoded), Set(inverse_pivots_[i]));
      StoreLanes(level, At(chunk_.levels, i));
      StoreLanes(error, Error(i));
      const float* upper = feedback_.upper + i * feedback_.stride;
      for (std::size_t j = i + 1; j < first_ + v_.size; ++j) {
        float* at = Weight(j);
        StoreLanes(hn::Sub(LoadLanes(at), hn::Mul(error, Set(upper[j]))), at);
      }
    }
  }

  void PushBeyondGroup() {
    for (std::size_t j = first_ + v_.size; j < chunk_.columns; ++j) {
      const float* upper = feedback_.upper + first_ * feedback_.stride + j;
      VF value = LoadLanes(Weight(j));
      for (std::size_t i = 0; i < v_.size; ++i) {
        const VF error = LoadLanes(Error(first_ + i));
        value = hn::Sub(value, hn::Mul(error, Set(upper[i * feedback_.stride])));
      }
      StoreLanes(value, Weight(j));
    }
  }

  const ScalarRecipe& recipe_;
  const ChunkFeedback& feedback_;
  const ScalarChunk& chunk_;
  std::size_t row_;
  Levels levels_;
  // Of these rows alone, side by side: rows of a tile would share too few lines of the cache.
  HWY_ALIGN float weights_[kScalarColumns * kMaxLanes];
  HWY_ALIGN float errors_[kScalarColumns * kMaxLanes];
  float inverse_pivots_[kScalarColumns];
  AffineValues v_;
  std::size_t first_ = 0;  // column of the group
  VF best_loss_;
  Candidate best_;
};

template <class Levels>
HWY_INLINE void FeedBackRows(const ScalarRecipe& recipe, const ChunkFeedback& feedback,
                             const ScalarChunk& chunk) {
  for (std::size_t row = 0; row < chunk.rows; row += LaneCount()) {
    FeedbackLanes<Levels>(recipe, feedback, chunk, row).Run();
  }
}

void FeedBackChunk(const ScalarRecipe& recipe, const ChunkFeedback& feedback,
                   const ScalarChunk& chunk) {
  if (recipe.table.empty()) {
    FeedBackRows<IntegerLevels>(recipe, feedback, chunk);
  } else {
    FeedBackRows<TableLevels>(recipe, feedback, chunk);
  }
}

void DecodeChunk(const ScalarRecipe& recipe, const ScalarChunk& chunk, float* values) {
  for (std::size_t i = 0; i < chunk.columns; ++i) {
    const std::size_t group = i / recipe.group * chunk.rows;
    const std::size_t block = i / recipe.block * chunk.rows;
    for (std::size_t r = 0; r < chunk.rows; r += LaneCount()) {
      const VF scale =
          hn::Mul(LoadLanes(chunk.scales + block + r), LoadLanes(chunk.scale_codes + group + r));
      const VF minimum = hn::Mul(LoadLanes(chunk.minimums + block + r),
                                 LoadLanes(chunk.minimum_codes + group + r));
      const VF level = LoadLanes(chunk.levels + i * chunk.rows + r);
      StoreLanes(hn::Sub(hn::Mul(scale, level), minimum), values + i * chunk.rows + r);
    }
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(FeedBackChunk);
HWY_EXPORT(DecodeChunk);

void feed_back_chunk(const ScalarRecipe& recipe, const ChunkFeedback& feedback,
                     const ScalarChunk& chunk) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(FeedBackChunk)(recipe, feedback, chunk);
}

void decode_chunk(const ScalarRecipe& recipe, const ScalarChunk& chunk, float* values) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(DecodeChunk)(recipe, chunk, values);
}

}  // namespace qwodel
#endif  // HWY_ONCE
