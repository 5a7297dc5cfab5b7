#include "methods/output_loss.h"

#include <algorithm>
#include <numeric>

namespace qwodel {
namespace {

// Rows of a task: its three kinds are one product.
constexpr std::size_t kTaskRows = 64;

// The linear's row, rounded to nearest as it was before the scales, then scaled: what rounding
// alone would have given.
void round_to_nearest(ConstMatrixView weights, std::span<const std::size_t> rows,
                      const GroupIntScheme& scheme, const FoldedScales& scales, MatrixView out) {
  const std::size_t d = weights.cols;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    std::ranges::copy(weights.row(rows[r]), out.row(r).begin());
    for (std::size_t i = 0; i < d && !scales.columns.empty(); ++i) {
      out.row(r)[i] /= scales.columns[i];
    }
  }
  GroupIntMatrix rounded(scheme, rows.size(), d);
  fit_rows(out, {}, search_of(scheme, false), 0, rounded);
  round_rows(out, 0, rounded);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    rounded.decode(r, out.row(r));
    for (std::size_t i = 0; i < d && !scales.columns.empty(); ++i) {
      out.row(r)[i] *= scales.columns[i];
    }
  }
}

}  // namespace

OutputLossSample::OutputLossSample(ConstMatrixView wanted) {
  const std::size_t count = std::min(wanted.rows, kLossRows);
  wanted_.resize(count * wanted.cols);
  for (std::size_t i = 0; i < count; ++i) {
    rows_.push_back(i * wanted.rows / count);
    std::ranges::copy(wanted.row(rows_.back()),
                      wanted_.begin() + static_cast<std::ptrdiff_t>(i * wanted.cols));
  }
}

OutputLossSample::Sums OutputLossSample::measure_rows(std::size_t first, std::size_t count,
                                                      ConstMatrixView weights,
                                                      const GroupIntMatrix& quantized,
                                                      const QuadraticForm& moments,
                                                      const FoldedScales& scales) const {
  const std::size_t d = weights.cols;
  const std::span<const std::size_t> rows = std::span(rows_).subspan(first, count);
  std::vector<float> values(3 * count * d);
  const MatrixView outputs(values.data(), count, d);
  const MatrixView nearest(values.data() + count * d, count, d);
  const MatrixView decoded(values.data() + 2 * count * d, count, d);
  round_to_nearest(weights, rows, quantized.scheme, scales, nearest);
  for (std::size_t r = 0; r < count; ++r) {
    const std::span<const float> wanted(wanted_.data() + (first + r) * d, d);
    const float scale = scales.rows.empty() ? 1.0f : scales.rows[rows[r]];
    quantized.decode(rows[r], decoded.row(r));
    for (std::size_t i = 0; i < d; ++i) {
      outputs.row(r)[i] = scale * wanted[i];
      nearest.row(r)[i] = scale * (nearest.row(r)[i] - wanted[i]);
      decoded.row(r)[i] = scale * (decoded.row(r)[i] - wanted[i]);
    }
  }
  SplitBuffers buffers;
  std::vector<double> sums(3 * count);
  moments.rows({values.data(), 3 * count, d}, buffers, sums);
  const auto sum_of = [&](std::size_t kind) {
    const auto begin = sums.begin() + static_cast<std::ptrdiff_t>(kind * count);
    return std::accumulate(begin, begin + static_cast<std::ptrdiff_t>(count), 0.0);
  };
  return {.outputs = sum_of(0), .nearest = sum_of(1), .quantized = sum_of(2)};
}

OutputLoss OutputLossSample::measure(ConstMatrixView weights, const GroupIntMatrix& quantized,
                                     const QuadraticForm& moments, const FoldedScales& scales,
                                     const TaskThreads& threads) const {
  std::vector<Sums> parts((rows_.size() + kTaskRows - 1) / kTaskRows);
  threads.run(parts.size(), [&](std::size_t task) {
    const std::size_t first = task * kTaskRows;
    parts[task] = measure_rows(first, std::min(kTaskRows, rows_.size() - first), weights, quantized,
                               moments, scales);
  });
  Sums all;
  for (const Sums& part : parts) {
    all.outputs += part.outputs;
    all.nearest += part.nearest;
    all.quantized += part.quantized;
  }
  if (!(all.outputs > 0)) return {};
  return {.nearest = all.nearest / all.outputs, .quantized = all.quantized / all.outputs};
}

}  // namespace qwodel
