#include "methods/mismatch.h"

#include <oneapi/dnnl/dnnl.h>
#include <tbb/parallel_for.h>

#include <algorithm>

namespace qwodel {
namespace {

constexpr std::size_t kTaskRows = 128;

// Calls body(first, count) for tasks of rows.
template <class Body>
void for_row_tasks(std::size_t rows, const Body& body) {
  tbb::parallel_for(std::size_t{0}, (rows + kTaskRows - 1) / kTaskRows, [&](std::size_t task) {
    body(task * kTaskRows, std::min(kTaskRows, rows - task * kTaskRows));
  });
}

}  // namespace

std::vector<float> mismatch(ConstMatrixView cross, const HessianFactor& factor) {
  const std::size_t d = factor.size();
  const auto n = static_cast<dnnl_dim_t>(d);
  std::vector<float> result(d * d);
  for_row_tasks(d, [&](std::size_t first, std::size_t count) {
    std::vector<float> ordered(count * d), product(count * d);
    const auto rows = static_cast<dnnl_dim_t>(count);
    for (std::size_t r = 0; r < count; ++r) {
      const auto from = cross.row(first + r);
      for (std::size_t i = 0; i < d; ++i) ordered[r * d + i] = from[factor.order[i]];
    }
    // H^-1 = U^T U.
    dnnl_sgemm('N', 'T', rows, n, n, 1.0f, ordered.data(), n, factor.upper.data(), n, 0.0f,
               product.data(), n);
    dnnl_sgemm('N', 'N', rows, n, n, 1.0f, product.data(), n, factor.upper.data(), n, 0.0f,
               ordered.data(), n);
    for (std::size_t r = 0; r < count; ++r) {
      float* const to = result.data() + (first + r) * d;
      for (std::size_t i = 0; i < d; ++i) to[factor.order[i]] = ordered[r * d + i];
    }
  });
  return result;
}

void compensate(MatrixView weights, ConstMatrixView mismatch, float strength) {
  const auto n = static_cast<dnnl_dim_t>(weights.cols);
  for_row_tasks(weights.rows, [&](std::size_t first, std::size_t count) {
    const MatrixView rows = weights.row_range(first, count);
    std::vector<float> change(count * weights.cols);
    dnnl_sgemm('N', 'N', static_cast<dnnl_dim_t>(count), n, n, strength, rows.data,
               static_cast<dnnl_dim_t>(rows.stride), mismatch.data,
               static_cast<dnnl_dim_t>(mismatch.stride), 0.0f, change.data(), n);
    for (std::size_t r = 0; r < count; ++r) {
      const auto row = rows.row(r);
      for (std::size_t c = 0; c < weights.cols; ++c) row[c] += change[r * weights.cols + c];
    }
  });
}

}  // namespace qwodel
