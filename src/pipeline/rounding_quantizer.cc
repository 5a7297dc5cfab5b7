#include <algorithm>
#include <cmath>

#include "graph/task_threads.h"
#include "io/mapped_file.h"
#include "pipeline/linear_quantizer.h"
#include "pipeline/progress_meter.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

class RoundingQuantizer final : public LinearQuantizer {
 public:
  RoundingQuantizer(const LinearTask& task, bool search) : task_(task), search_(search) {}

  void run(const Sink& sink) const override {
    const TaskThreads threads(task_.threads);
    threads.run(task_.plan.linears.size(), [&](std::size_t i) {
      throw_if_cancelled(task_.cancel);
      if (task_.is_finished(i)) return;
      const PlannedLinear& linear = task_.plan.linears[i];
      const std::vector<float> values = read_linear(task_.model, linear);
      const ConstMatrixView view(values.data(), static_cast<std::size_t>(linear.out_features),
                                 static_cast<std::size_t>(linear.in_features));
      sink(i, round_linear(view, {}, linear.scheme, search_));
    });
  }

 private:
  LinearTask task_;
  bool search_;
};

}  // namespace

std::unique_ptr<LinearQuantizer> make_rounding_quantizer(const LinearTask& task, bool search) {
  return std::make_unique<RoundingQuantizer>(task, search);
}

std::vector<float> read_linear(const SourceModel& model, const PlannedLinear& linear) {
  const WeightTensor& tensor = *model.weights->find(model.spec.sources[linear.source]);
  const std::uint64_t count = linear.out_features * linear.in_features;
  std::vector<float> values(static_cast<std::size_t>(count));
  tensor.read(0, values);
  for (const auto part : tensor.storage(0, count)) drop_pages(part);
  if (!std::ranges::all_of(values, [](float v) { return std::isfinite(v); })) {
    throw QuantizationError({.where = tensor.name(),
                             .found = "a value that is not finite",
                             .expected = "finite weights",
                             .remedy = "use an undamaged checkpoint"});
  }
  return values;
}

QuantizedLinear round_linear(ConstMatrixView values, std::span<const float> importance,
                             const GroupIntScheme& scheme, bool search) {
  QuantizedLinear result{.matrix = GroupIntMatrix(scheme, values.rows, values.cols),
                         .errors = {},
                         .method = search ? "search" : "rtn"};
  fit_rows(values, importance, search_of(scheme, search), 0, result.matrix);
  round_rows(values, 0, result.matrix);
  result.errors = matrix_errors(values, result.matrix);
  return result;
}

ErrorSums matrix_errors(ConstMatrixView values, const GroupIntMatrix& matrix) {
  ErrorSums errors;
  std::vector<float> decoded(values.cols);
  for (std::size_t row = 0; row < values.rows; ++row) {
    matrix.decode(row, decoded);
    errors.add(error_sums(values.row(row).data(), decoded.data(), values.cols));
  }
  return errors;
}

}  // namespace qwodel
