#include "kernels/column_sums.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/column_sums.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "kernels/dispatch.h"

HWY_BEFORE_NAMESPACE();
namespace qwodel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// One vector of columns, all rows of a run.
template <class D>
HWY_INLINE void AddRun(D d, ConstMatrixView rows, std::size_t column, double* sum_abs,
                       double* sum_squares, float* max_abs) {
  auto a = hn::Zero(d);
  auto s = hn::Zero(d);
  auto m = hn::LoadU(d, max_abs + column);
  const float* x = rows.data + column;
  for (std::size_t i = 0; i < rows.rows; ++i, x += rows.stride) {
    const auto value = hn::LoadU(d, x);
    const auto magnitude = hn::Abs(value);
    a = hn::Add(a, magnitude);
    s = hn::Add(s, hn::Mul(value, value));
    m = hn::Max(m, magnitude);
  }
  hn::StoreU(m, d, max_abs + column);
  HWY_ALIGN float abs_lanes[hn::MaxLanes(d)];
  HWY_ALIGN float square_lanes[hn::MaxLanes(d)];
  hn::Store(a, d, abs_lanes);
  hn::Store(s, d, square_lanes);
  for (std::size_t lane = 0; lane < hn::Lanes(d); ++lane) {
    sum_abs[column + lane] += static_cast<double>(abs_lanes[lane]);
    sum_squares[column + lane] += static_cast<double>(square_lanes[lane]);
  }
}

void AddColumnSums(ConstMatrixView rows, double* sum_abs, double* sum_squares, float* max_abs) {
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> one;
  const std::size_t lanes = hn::Lanes(d);
  for (std::size_t first = 0; first < rows.rows; first += kRowsPerRun) {
    const auto run = rows.row_range(first, std::min(kRowsPerRun, rows.rows - first));
    std::size_t column = 0;
    for (; column + lanes <= rows.cols; column += lanes) {
      AddRun(d, run, column, sum_abs, sum_squares, max_abs);
    }
    for (; column < rows.cols; ++column) AddRun(one, run, column, sum_abs, sum_squares, max_abs);
  }
}

}  // namespace qwodel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qwodel {

HWY_EXPORT(AddColumnSums);

void add_column_sums(ConstMatrixView rows, double* sum_abs, double* sum_squares, float* max_abs) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(AddColumnSums)(rows, sum_abs, sum_squares, max_abs);
}

}  // namespace qwodel
#endif  // HWY_ONCE
