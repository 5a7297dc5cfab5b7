#include "pipeline/fold_weights.h"

#include <algorithm>
#include <vector>

namespace qwodel {

void fold_values(const LinearTask& task, const AwqFolds& folds, std::size_t linear,
                 std::uint64_t first, std::span<float> values) {
  if (folds.columns.empty()) return;
  const std::uint64_t cols = task.plan.linears[linear].in_features;
  const std::vector<float>& columns = folds.columns[linear];
  const std::vector<float>& rows = folds.rows[linear];
  while (!values.empty()) {
    const auto column = static_cast<std::size_t>(first % cols);
    const std::size_t count = std::min(values.size(), static_cast<std::size_t>(cols) - column);
    for (std::size_t k = 0; k < count && !columns.empty(); ++k) values[k] *= columns[column + k];
    const float divisor = rows.empty() ? 1.0f : rows[first / cols];
    for (std::size_t k = 0; k < count && !rows.empty(); ++k) values[k] /= divisor;
    values = values.subspan(count);
    first += count;
  }
}

void fold_weights(const LinearTask& task, const AwqFolds& folds, ReplaceableWeights& weights) {
  for (const auto& replaced : folds.replaced) {
    const std::vector<float>& values = replaced.second;
    weights.replace(replaced.first, [&values](std::uint64_t first, std::span<float> out) {
      std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(first), out.size(), out.begin());
    });
  }
  for (std::size_t i = 0; i < folds.columns.size(); ++i) {
    if (folds.columns[i].empty() && folds.rows[i].empty()) continue;
    const std::uint32_t source = task.plan.linears[i].source;
    weights.replace(source, [&task, &folds, i, source](std::uint64_t first, std::span<float> out) {
      task.model.weights->find(task.model.spec.sources[source])->read(first, out);
      fold_values(task, folds, i, first, out);
    });
  }
}

}  // namespace qwodel
