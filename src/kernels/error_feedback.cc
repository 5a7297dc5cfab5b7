#include "kernels/error_feedback.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/error_feedback.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include "kernels/dispatch.h"
#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

HWY_INLINE void PushLanes(const FeedbackBlock& block, std::size_t i, std::size_t row, VF error) {
  const float* upper = block.upper + i * block.upper_stride;
  for (std::size_t j = i + 1; j < block.columns; ++j) {
    float* weight = block.weights + j * block.rows + row;
    StoreLanes(hn::NegMulAdd(error, Set(upper[j]), LoadLanes(weight)), weight);
  }
}

void FeedBackGroups(const FeedbackBlock& block, const float* const* scales,
                    const float* const* zeros) {
  const VF top = Set(static_cast<float>((1u << block.bits) - 1));
  for (std::size_t row = 0; row < block.rows; row += LaneCount()) {
    for (std::size_t i = 0; i < block.columns; ++i) {
      const std::size_t at = i * block.rows + row;
      const VF weight = LoadLanes(block.weights + at);
      const VF scale = LoadLanes(scales[i] + row);
      const VF zero = LoadLanes(zeros[i] + row);
      const VF rounded = hn::Add(hn::Round(hn::Div(weight, scale)), zero);
      const VF code = hn::Min(hn::Max(rounded, Zero()), top);
      const VF decoded = hn::Mul(hn::Sub(code, zero), scale);
      const VF pivot = Set(block.upper[i * block.upper_stride + i]);
      const VF error = hn::Div(hn::Sub(weight, decoded), pivot);
      StoreLanes(error, block.errors + at);
      StoreBytes(hn::ConvertTo(DI(), code), block.codes + at);
      PushLanes(block, i, row, error);
    }
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(FeedBackGroups);

void feed_back_groups(const FeedbackBlock& block, const float* const* scales,
                      const float* const* zeros) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(FeedBackGroups)(block, scales, zeros);
}

}  // namespace qwodel
#endif  // HWY_ONCE
