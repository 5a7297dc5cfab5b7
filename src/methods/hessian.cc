#include "methods/hessian.h"

#include <fmt/format.h>
#include <lapacke.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "graph/aligned_buffer.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr double kLargestDamp = 1.0;
constexpr double kDampStep = 10.0;

[[noreturn]] void fail(const std::string& name, std::string found, std::string expected) {
  throw QuantizationError({.where = name,
                           .found = std::move(found),
                           .expected = std::move(expected),
                           .remedy = "use other calibration text or --method rtn"});
}

std::vector<std::uint32_t> column_order(const std::vector<float>& diagonal, ColumnOrder order) {
  std::vector<std::uint32_t> columns(diagonal.size());
  std::iota(columns.begin(), columns.end(), 0u);
  if (order == ColumnOrder::activation) {
    std::ranges::stable_sort(
        columns, [&](std::uint32_t a, std::uint32_t b) { return diagonal[a] > diagonal[b]; });
  }
  return columns;
}

// The damped Hessian in the order given, last column first: the lower triangle.
AlignedBuffer<double> reversed_hessian(ConstMatrixView gram, const HessianFactor& factor,
                                       double damping) {
  const std::size_t d = factor.size();
  AlignedBuffer<double> h(d * d);
  for (std::size_t i = 0; i < d; ++i) {
    const std::uint32_t row = factor.order[d - 1 - i];
    for (std::size_t j = 0; j <= i; ++j) {
      h.data()[i * d + j] =
          static_cast<double>(gram.data[row * gram.stride + factor.order[d - 1 - j]]);
    }
    double& diagonal = h.data()[i * d + i];
    diagonal = (factor.dead[row] ? 1.0 : diagonal) + damping;
  }
  return h;
}

// With J the reversal, J H J = L L^T makes H = R R^T for the upper triangular R = J L J, so the
// inverse of R is the upper factor of H^-1: one factorization instead of two and an inversion.
// The rows of a lower triangle are the columns of an upper one, as LAPACK counts.
bool factorize(AlignedBuffer<double>& h, std::size_t d) {
  const auto n = static_cast<lapack_int>(d);
  if (LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'U', n, h.data(), n) != 0) return false;
  return LAPACKE_dtrtri_work(LAPACK_COL_MAJOR, 'U', 'N', n, h.data(), n) == 0;
}

void store_upper(const AlignedBuffer<double>& lower, HessianFactor& factor) {
  const std::size_t d = factor.size();
  factor.upper.assign(d * d, 0.0f);
  for (std::size_t i = 0; i < d; ++i) {
    const double* row = lower.data() + (d - 1 - i) * d;
    for (std::size_t j = i; j < d; ++j) {
      factor.upper[i * d + j] = static_cast<float>(row[d - 1 - j]);
    }
  }
}

}  // namespace

HessianFactor factorize_hessian(ConstMatrixView gram, const HessianOptions& options,
                                const std::string& name) {
  const std::size_t d = gram.rows;
  HessianFactor factor;
  double trace = 0;
  for (std::size_t i = 0; i < d; ++i) {
    const float value = gram.row(i)[i];
    if (!std::isfinite(value) || value < 0) {
      fail(name, fmt::format("{} on the Hessian's diagonal", value), "finite activations");
    }
    factor.importance.push_back(value);
    factor.dead.push_back(value == 0.0f);
    trace += static_cast<double>(value);
  }
  factor.order = column_order(factor.importance, options.order);
  const double mean = trace > 0 ? trace / static_cast<double>(d) : 1.0;
  for (double damp = options.damp_percent; damp <= kLargestDamp * kDampStep; damp *= kDampStep) {
    factor.damp_percent = std::min(damp, kLargestDamp);
    auto h = reversed_hessian(gram, factor, factor.damp_percent * mean);
    if (factorize(h, d)) {
      store_upper(h, factor);
      return factor;
    }
  }
  fail(name, "a Hessian that is not positive definite", "one that damping repairs");
}

}  // namespace qwodel
