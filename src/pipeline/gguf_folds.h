// AWQ's scales in a GGUF.
#pragma once

#include <deque>
#include <vector>

#include "pipeline/tensor_folds.h"
#include "plan/tensor_plan.h"

namespace qwodel {

// Integers like those of a type, under which scales are searched for it. Types whose values are
// coded together count by their size.
GroupIntScheme scheme_like(TensorType type);

// Schemes of the tensors that a plan quantizes.
TensorFolds::SchemeOf tensor_schemes(const std::vector<PlanInput>& inputs, const TensorPlan& plan);

// A plan with the importance of the inputs that the scales make smaller.
class ScaledPlan {
 public:
  // What the plan points to outlives it.
  ScaledPlan(const std::vector<PlanInput>& inputs, const TensorPlan& plan,
             const StatisticsFile& statistics, const TensorFolds& folds);
  ScaledPlan(const ScaledPlan&) = delete;
  ScaledPlan& operator=(const ScaledPlan&) = delete;

  const TensorPlan& plan() const { return plan_; }

 private:
  TensorPlan plan_;
  std::deque<std::vector<float>> importance_;
};

}  // namespace qwodel
