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

// A triangle is multiplied in runs of columns, each without most of what is zero in it.
constexpr std::size_t kTriangleRun = 256;

// out [rows, d] = values U^T: row j of U begins at column j.
void multiply_by_transposed(const float* values, std::size_t rows, const HessianFactor& factor,
                            float* out) {
  const std::size_t d = factor.size();
  const auto stride = static_cast<dnnl_dim_t>(d);
  for (std::size_t at = 0; at < d; at += kTriangleRun) {
    const auto columns = static_cast<dnnl_dim_t>(std::min(kTriangleRun, d - at));
    dnnl_sgemm('N', 'T', static_cast<dnnl_dim_t>(rows), columns, static_cast<dnnl_dim_t>(d - at),
               1.0f, values + at, stride, factor.upper.data() + at * d + at, stride, 0.0f, out + at,
               stride);
  }
}

// out [rows, d] = values U: column j of U ends at row j.
void multiply_by_upper(const float* values, std::size_t rows, const HessianFactor& factor,
                       float* out) {
  const std::size_t d = factor.size();
  const auto stride = static_cast<dnnl_dim_t>(d);
  for (std::size_t at = 0; at < d; at += kTriangleRun) {
    const std::size_t columns = std::min(kTriangleRun, d - at);
    dnnl_sgemm('N', 'N', static_cast<dnnl_dim_t>(rows), static_cast<dnnl_dim_t>(columns),
               static_cast<dnnl_dim_t>(at + columns), 1.0f, values, stride,
               factor.upper.data() + at, stride, 0.0f, out + at, stride);
  }
}

// Rows times H^-1 = U^T U, columns in the checkpoint's order.
void multiply_by_inverse(ConstMatrixView rows, const HessianFactor& factor, MatrixView out) {
  const std::size_t d = factor.size();
  std::vector<float> ordered(rows.rows * d), product(rows.rows * d);
  for (std::size_t r = 0; r < rows.rows; ++r) {
    const auto from = rows.row(r);
    for (std::size_t i = 0; i < d; ++i) ordered[r * d + i] = from[factor.order[i]];
  }
  multiply_by_transposed(ordered.data(), rows.rows, factor, product.data());
  multiply_by_upper(product.data(), rows.rows, factor, ordered.data());
  for (std::size_t r = 0; r < rows.rows; ++r) {
    const auto to = out.row(r);
    for (std::size_t i = 0; i < d; ++i) to[factor.order[i]] = ordered[r * d + i];
  }
}

// strength * weights * matrix [d, d].
std::vector<float> product_of(ConstMatrixView weights, ConstMatrixView matrix, float strength) {
  std::vector<float> result(weights.rows * weights.cols);
  const auto n = static_cast<dnnl_dim_t>(weights.cols);
  dnnl_sgemm('N', 'N', static_cast<dnnl_dim_t>(weights.rows), n, n, strength, weights.data,
             static_cast<dnnl_dim_t>(weights.stride), matrix.data,
             static_cast<dnnl_dim_t>(matrix.stride), 0.0f, result.data(), n);
  return result;
}

void add(const std::vector<float>& change, MatrixView weights) {
  for (std::size_t r = 0; r < weights.rows; ++r) {
    const auto row = weights.row(r);
    for (std::size_t c = 0; c < weights.cols; ++c) row[c] += change[r * weights.cols + c];
  }
}

}  // namespace

std::vector<float> mismatch(ConstMatrixView cross, const HessianFactor& factor) {
  const std::size_t d = factor.size();
  std::vector<float> result(d * d);
  const MatrixView out(result.data(), d, d);
  for_row_tasks(d, [&](std::size_t first, std::size_t count) {
    multiply_by_inverse(cross.row_range(first, count), factor, out.row_range(first, count));
  });
  return result;
}

void compensate(MatrixView weights, ConstMatrixView mismatch, float strength) {
  for_row_tasks(weights.rows, [&](std::size_t first, std::size_t count) {
    const MatrixView rows = weights.row_range(first, count);
    add(product_of(rows, mismatch, strength), rows);
  });
}

void compensate_few(MatrixView weights, ConstMatrixView cross, const HessianFactor& factor,
                    float strength) {
  for_row_tasks(weights.rows, [&](std::size_t first, std::size_t count) {
    const MatrixView rows = weights.row_range(first, count);
    std::vector<float> change = product_of(rows, cross, strength);
    const MatrixView view(change.data(), count, weights.cols);
    multiply_by_inverse(view, factor, view);
    add(change, rows);
  });
}

}  // namespace qwodel
