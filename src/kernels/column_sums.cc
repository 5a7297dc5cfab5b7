#include "kernels/column_sums.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/column_sums.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway requires.
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/convert.h"
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

namespace {

// Squares of this side stay in the first-level cache on both sides.
constexpr std::size_t kSquare = 32;

template <class Visit>
void for_each_square(ConstMatrixView rows, const Visit& visit) {
  for (std::size_t j = 0; j < rows.cols; j += kSquare) {
    for (std::size_t i = 0; i < rows.rows; i += kSquare) {
      visit(i, std::min(kSquare, rows.rows - i), j, std::min(kSquare, rows.cols - j));
    }
  }
}

}  // namespace

void add_column_sums(ConstMatrixView rows, double* sum_abs, double* sum_squares, float* max_abs) {
  prepare_kernels();
  HWY_DYNAMIC_DISPATCH(AddColumnSums)(rows, sum_abs, sum_squares, max_abs);
}

void transpose(ConstMatrixView rows, std::size_t stride, float* out) {
  for_each_square(rows, [&](std::size_t i, std::size_t height, std::size_t j, std::size_t width) {
    for (std::size_t c = 0; c < width; ++c) {
      const float* in = rows.data + i * rows.stride + j + c;
      float* to = out + (j + c) * stride + i;
      for (std::size_t r = 0; r < height; ++r) to[r] = in[r * rows.stride];
    }
  });
}

void transpose_to_bfloat16(ConstMatrixView rows, std::size_t stride, std::uint16_t* out) {
  std::array<std::uint16_t, kSquare * kSquare> square;
  for_each_square(rows, [&](std::size_t i, std::size_t height, std::size_t j, std::size_t width) {
    for (std::size_t r = 0; r < height; ++r) {
      float_to_bfloat16(rows.row(i + r).data() + j, width, square.data() + r * kSquare);
    }
    for (std::size_t c = 0; c < width; ++c) {
      std::uint16_t* to = out + (j + c) * stride + i;
      for (std::size_t r = 0; r < height; ++r) to[r] = square[r * kSquare + c];
    }
  });
}

}  // namespace qwodel
#endif  // HWY_ONCE
