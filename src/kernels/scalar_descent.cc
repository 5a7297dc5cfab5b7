#include "kernels/scalar_feedback.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/scalar_descent.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include "kernels/dispatch.h"
#include "kernels/lanes-inl.h"
#include "kernels/scalar_feedback-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

// The loss changes by this when scale grows by s and minimum by m: columns v (levels times what
// does not change) and u (what the minimum is multiplied by) move the errors by m u - s v.
struct ParameterLoss {
  VF vv, uv, uu;  // v H v, u H v, u H u
  VF gv, gu;      // g v, g u

  HWY_INLINE VF Change(VF s, VF m) const {
    const VF linear = hn::Sub(hn::Mul(m, gu), hn::Mul(s, gv));
    const VF square =
        hn::Add(hn::Sub(hn::Mul(hn::Mul(s, s), vv), hn::Mul(hn::Mul(Set(2.0f), hn::Mul(s, m)), uv)),
                hn::Mul(hn::Mul(m, m), uu));
    return hn::Add(hn::Mul(Set(2.0f), linear), square);
  }

  // Where the change is lowest; without a minimum u is 0.
  HWY_INLINE VF BestScale() const {
    const VF det = hn::Sub(hn::Mul(vv, uu), hn::Mul(uv, uv));
    const MF both = hn::Gt(det, hn::Mul(Set(1e-6f), hn::Mul(vv, uu)));
    const VF joint = hn::Sub(hn::Mul(gv, uu), hn::Mul(gu, uv));
    return Select(both, hn::Mul(joint, InverseOrZero(det)), hn::Mul(gv, InverseOrZero(vv)));
  }
  HWY_INLINE VF BestMinimum(VF s) const {
    return hn::Mul(hn::Sub(hn::Mul(s, uv), gu), InverseOrZero(uu));
  }
};

template <class Levels>
class DescentLanes {
 public:
  DescentLanes(const ScalarRecipe& recipe, const ChunkDescent& descent, const ScalarChunk& chunk,
               std::size_t row)
      : recipe_(recipe), descent_(descent), chunk_(chunk), row_(row), levels_(recipe) {
    for (std::size_t i = 0; i < chunk.columns; ++i) {
      StoreLanes(LoadLanes(descent.gradient + i * chunk.rows + row), Gradient(i));
    }
  }

  void Run() {
    const std::size_t groups = recipe_.block / recipe_.group;
    const bool has_codes = recipe_.lowest_scale != recipe_.highest_scale;
    for (int round = 0; round < descent_.rounds; ++round) {
      for (std::size_t block = 0; block < chunk_.columns / recipe_.block; ++block) {
        for (std::size_t g = 0; g < groups; ++g) {
          MoveLevels(block, block * groups + g);
          if (has_codes) MoveCodes(block, block * groups + g);
        }
        MoveScales(block);
      }
      for (std::size_t g = 0; g < chunk_.columns / recipe_.group; ++g) MoveLevels(g / groups, g);
    }
  }

 private:
  float* At(float* array, std::size_t i) const { return array + i * chunk_.rows + row_; }
  float* Gradient(std::size_t i) { return gradient_ + i * LaneCount(); }
  VF Scale(std::size_t block, std::size_t group) const {
    return hn::Mul(LoadLanes(At(chunk_.scales, block)), LoadLanes(At(chunk_.scale_codes, group)));
  }
  VF Minimum(std::size_t block, std::size_t group) const {
    return hn::Mul(LoadLanes(At(chunk_.minimums, block)),
                   LoadLanes(At(chunk_.minimum_codes, group)));
  }

  // Column i's error changes by `change`.
  void Push(std::size_t i, VF change) {
    const float* hessian = descent_.hessian + i * descent_.stride;
    for (std::size_t j = 0; j < chunk_.columns; ++j) {
      float* at = Gradient(j);
      StoreLanes(hn::Add(LoadLanes(at), hn::Mul(change, Set(hessian[j]))), at);
    }
    float* error = At(descent_.errors, i);
    StoreLanes(hn::Add(LoadLanes(error), change), error);
  }

  // Every level becomes the one nearest to where the loss is lowest.
  void MoveLevels(std::size_t block, std::size_t group) {
    const VF scale = Scale(block, group);
    const VF inverse = InverseOrZero(scale);
    for (std::size_t i = group * recipe_.group; i < (group + 1) * recipe_.group; ++i) {
      const VF level = LoadLanes(At(chunk_.levels, i));
      const VF curvature = Set(1.0f / descent_.hessian[i * descent_.stride + i]);
      const VF step = hn::Mul(hn::Mul(LoadLanes(Gradient(i)), curvature), inverse);
      const VF next = levels_(hn::Add(level, step));
      const VF change = hn::Mul(scale, hn::Sub(level, next));
      if (!AnyLane(NotEqual(change, Zero()))) continue;
      StoreLanes(next, At(chunk_.levels, i));
      Push(i, change);
    }
  }

  // Within [first, first + count): what a change of v and u does. Products H v and H u are kept.
  ParameterLoss Measure(std::size_t first, std::size_t count) {
    ParameterLoss loss{Zero(), Zero(), Zero(), Zero(), Zero()};
    const std::size_t n = LaneCount();
    const bool has_minimum = recipe_.highest_minimum > 0;
    for (std::size_t i = 0; i < count; ++i) {
      const float* hessian = descent_.hessian + (first + i) * descent_.stride + first;
      VF hv = Zero(), hu = Zero();
      for (std::size_t j = 0; j < count; ++j) {
        hv = hn::Add(hv, hn::Mul(Set(hessian[j]), LoadLanes(v_ + j * n)));
      }
      if (has_minimum) {
        for (std::size_t j = 0; j < count; ++j) {
          hu = hn::Add(hu, hn::Mul(Set(hessian[j]), LoadLanes(u_ + j * n)));
        }
      }
      const VF v = LoadLanes(v_ + i * n), u = LoadLanes(u_ + i * n);
      const VF gradient = LoadLanes(Gradient(first + i));
      loss.vv = hn::Add(loss.vv, hn::Mul(v, hv));
      loss.uv = hn::Add(loss.uv, hn::Mul(u, hv));
      loss.uu = hn::Add(loss.uu, hn::Mul(u, hu));
      loss.gv = hn::Add(loss.gv, hn::Mul(gradient, v));
      loss.gu = hn::Add(loss.gu, hn::Mul(gradient, u));
    }
    return loss;
  }

  // Errors of the columns move by m u - s v.
  void Apply(std::size_t first, std::size_t count, VF s, VF m) {
    for (std::size_t i = 0; i < count; ++i) {
      const VF v = LoadLanes(v_ + i * LaneCount());
      const VF u = LoadLanes(u_ + i * LaneCount());
      Push(first + i, hn::Sub(hn::Mul(m, u), hn::Mul(s, v)));
    }
  }

  void MoveCodes(std::size_t block, std::size_t group) {
    const VF scale = LoadLanes(At(chunk_.scales, block));
    const VF minimum = LoadLanes(At(chunk_.minimums, block));
    const bool has_minimum = recipe_.highest_minimum > 0;
    const std::size_t first = group * recipe_.group;
    for (std::size_t i = 0; i < recipe_.group; ++i) {
      StoreLanes(LoadLanes(At(chunk_.levels, first + i)), v_ + i * LaneCount());
      StoreLanes(has_minimum ? Set(1.0f) : Zero(), u_ + i * LaneCount());
    }
    const ParameterLoss loss = Measure(first, recipe_.group);
    const IntegerLevels scale_codes(recipe_.lowest_scale, recipe_.highest_scale);
    const IntegerLevels minimum_codes(0, recipe_.highest_minimum);
    const VF old_scale = LoadLanes(At(chunk_.scale_codes, group));
    const VF old_minimum = LoadLanes(At(chunk_.minimum_codes, group));
    const VF wanted = hn::Add(old_scale, hn::Mul(loss.BestScale(), InverseOrZero(scale)));
    VF best = Zero(), best_scale = old_scale, best_minimum = old_minimum;
    for (int k = -2; k <= 2; ++k) {
      const VF code =
          scale_codes(hn::Add(RoundHalfEven(scale_codes(wanted)), Set(static_cast<float>(k))));
      const VF s = hn::Mul(scale, hn::Sub(code, old_scale));
      const VF minimum_code =
          minimum_codes(hn::Add(old_minimum, hn::Mul(loss.BestMinimum(s), InverseOrZero(minimum))));
      const VF m = hn::Mul(minimum, hn::Sub(minimum_code, old_minimum));
      const VF change = loss.Change(s, m);
      const MF better = hn::Lt(change, best);
      Replace(better, change, &best);
      Replace(better, code, &best_scale);
      Replace(better, minimum_code, &best_minimum);
    }
    if (!AnyLane(hn::Lt(best, Zero()))) return;
    Apply(first, recipe_.group, hn::Mul(scale, hn::Sub(best_scale, old_scale)),
          hn::Mul(minimum, hn::Sub(best_minimum, old_minimum)));
    StoreLanes(best_scale, At(chunk_.scale_codes, group));
    StoreLanes(best_minimum, At(chunk_.minimum_codes, group));
  }

  void MoveScales(std::size_t block) {
    const std::size_t first = block * recipe_.block;
    for (std::size_t i = 0; i < recipe_.block; ++i) {
      const std::size_t group = (first + i) / recipe_.group;
      StoreLanes(hn::Mul(LoadLanes(At(chunk_.levels, first + i)),
                         LoadLanes(At(chunk_.scale_codes, group))),
                 v_ + i * LaneCount());
      StoreLanes(LoadLanes(At(chunk_.minimum_codes, group)), u_ + i * LaneCount());
    }
    const ParameterLoss loss = Measure(first, recipe_.block);
    const VF old_scale = LoadLanes(At(chunk_.scales, block));
    const VF old_minimum = LoadLanes(At(chunk_.minimums, block));
    const VF scale = RoundToHalf(hn::Add(old_scale, loss.BestScale()));
    VF s = hn::Sub(scale, old_scale);
    const VF minimum = RoundToHalf(hn::Add(old_minimum, loss.BestMinimum(s)));
    VF m = hn::Sub(minimum, old_minimum);
    const MF better = hn::Lt(loss.Change(s, m), Zero());
    if (!AnyLane(better)) return;
    s = SelectOrZero(better, s);
    m = SelectOrZero(better, m);
    Apply(first, recipe_.block, s, m);
    StoreLanes(Select(better, scale, old_scale), At(chunk_.scales, block));
    StoreLanes(Select(better, minimum, old_minimum), At(chunk_.minimums, block));
  }

  const ScalarRecipe& recipe_;
  const ChunkDescent& descent_;
  const ScalarChunk& chunk_;
  std::size_t row_;
  Levels levels_;
  // Of these rows alone, side by side: rows of a tile would share too few lines of the cache.
  HWY_ALIGN float gradient_[kScalarColumns * kMaxLanes];
  HWY_ALIGN float v_[kScalarColumns * kMaxLanes];
  HWY_ALIGN float u_[kScalarColumns * kMaxLanes];
};

template <class Levels>
HWY_INLINE void DescendRows(const ScalarRecipe& recipe, const ChunkDescent& descent,
                            const ScalarChunk& chunk) {
  for (std::size_t row = 0; row < chunk.rows; row += LaneCount()) {
    DescentLanes<Levels>(recipe, descent, chunk, row).Run();
  }
}

void DescendChunk(const ScalarRecipe& recipe, const ChunkDescent& descent,
                  const ScalarChunk& chunk) {
  if (recipe.table.empty()) {
    DescendRows<IntegerLevels>(recipe, descent, chunk);
  } else {
    DescendRows<TableLevels>(recipe, descent, chunk);
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(DescendChunk);

void descend_chunk(const ScalarRecipe& recipe, const ChunkDescent& descent,
                   const ScalarChunk& chunk) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(DescendChunk)(recipe, descent, chunk);
}

}  // namespace qwodel
#endif  // HWY_ONCE
