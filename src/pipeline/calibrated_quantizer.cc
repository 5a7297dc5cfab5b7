#include <algorithm>
#include <map>
#include <utility>

#include "graph/task_threads.h"
#include "methods/gptq.h"
#include "methods/second_moments.h"
#include "pipeline/awq_folds.h"
#include "pipeline/linear_quantizer.h"
#include "pipeline/progress_meter.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

// Fewer tokens than this part of the in_features say too little about their correlation (an expert
// that was hardly ever chosen): it is rounded with what is known of its channels.
constexpr double kEnoughTokens = 0.25;

constexpr std::size_t kFitRows = 64;

class CalibratedQuantizer final : public LinearQuantizer {
 public:
  CalibratedQuantizer(const LinearTask& task, const StatisticsFile& statistics,
                      const CalibratedMethod& method)
      : task_(task), statistics_(statistics), method_(method) {
    if (method_.scale) folds_ = find_awq_folds(task, statistics);
    for (std::size_t i = 0; i < task.plan.linears.size(); ++i) {
      const PlannedLinear& linear = task.plan.linears[i];
      const auto input = statistics.find(task.graph.weights[linear.weight].name);
      const bool known = input && statistics.inputs()[*input].width == linear.in_features &&
                         (statistics.inputs()[*input].parts == 1 ||
                          linear.part < statistics.inputs()[*input].parts);
      if (known) {
        const std::size_t part = statistics.inputs()[*input].parts == 1 ? 0 : linear.part;
        groups_[{*input, part}].push_back(i);
      } else {
        unknown_.push_back(i);
      }
    }
  }

  void run(const Sink& sink) const override {
    const TaskThreads threads(task_.threads);
    for (const auto& [where, linears] : groups_) {
      throw_if_cancelled(task_.cancel);
      const auto& input = statistics_.inputs()[where.first];
      SecondMoments moments = second_moments(statistics_.read(where.first, true), where.second,
                                             static_cast<std::size_t>(input.width));
      divide_moments(moments, linears.front());
      const bool enough =
          static_cast<double>(moments.rows) >= kEnoughTokens * static_cast<double>(input.width);
      if (!method_.feed_back || !enough) {
        for (const std::size_t i : linears) round(i, diagonal(moments), sink);
        continue;
      }
      const HessianFactor factor =
          factorize_hessian(moments.matrix(), {}, task_.plan.linears[linears.front()].module);
      for (const std::size_t i : linears) {
        throw_if_cancelled(task_.cancel);
        feed_back(i, factor, threads, sink);
      }
    }
    for (const std::size_t i : unknown_) round(i, {}, sink);
  }

  std::map<std::uint32_t, std::vector<float>> replaced() const override { return folds_.replaced; }

 private:
  static std::vector<float> diagonal(const SecondMoments& moments) {
    std::vector<float> values;
    if (moments.rows == 0) return values;
    for (std::size_t i = 0; i < moments.width(); ++i) {
      values.push_back(moments.gram[i * moments.width() + i]);
    }
    return values;
  }

  // Inputs that the columns' scales make smaller. Linears that read one input have the same scales.
  void divide_moments(SecondMoments& moments, std::size_t linear) const {
    if (folds_.columns.empty() || folds_.columns[linear].empty()) return;
    const std::vector<float>& scales = folds_.columns[linear];
    const std::size_t d = moments.width();
    for (std::size_t i = 0; i < d; ++i) {
      for (std::size_t j = 0; j < d; ++j) moments.gram[i * d + j] /= scales[i] * scales[j];
    }
  }

  // The linear's weights with what the folds make of them.
  std::vector<float> folded(std::size_t i) const {
    const PlannedLinear& linear = task_.plan.linears[i];
    std::vector<float> values = read_linear(task_.model, linear);
    if (folds_.columns.empty()) return values;
    const auto cols = static_cast<std::size_t>(linear.in_features);
    const std::vector<float>& columns = folds_.columns[i];
    const std::vector<float>& rows = folds_.rows[i];
    for (std::size_t k = 0; k < values.size(); ++k) {
      if (!columns.empty()) values[k] *= columns[k % cols];
      if (!rows.empty()) values[k] /= rows[k / cols];
    }
    return values;
  }

  void round(std::size_t i, std::span<const float> importance, const Sink& sink) const {
    const PlannedLinear& linear = task_.plan.linears[i];
    const std::vector<float> values = folded(i);
    const ConstMatrixView view(values.data(), static_cast<std::size_t>(linear.out_features),
                               static_cast<std::size_t>(linear.in_features));
    QuantizedLinear result = round_linear(view, importance, task_.scheme, true);
    result.method = !method_.scale ? "search" : folds_.columns[i].empty() ? "search" : "awq";
    sink(i, result);
  }

  void feed_back(std::size_t i, const HessianFactor& factor, const TaskThreads& threads,
                 const Sink& sink) const {
    const PlannedLinear& linear = task_.plan.linears[i];
    const std::vector<float> values = folded(i);
    std::vector<float> decoded = values;
    const auto rows = static_cast<std::size_t>(linear.out_features);
    const auto cols = static_cast<std::size_t>(linear.in_features);
    const ConstMatrixView view(values.data(), rows, cols);
    QuantizedLinear result{.matrix = GroupIntMatrix(task_.scheme, rows, cols),
                           .errors = {},
                           .method = method_.scale ? "awq+gptq" : "gptq"};
    threads.run((rows + kFitRows - 1) / kFitRows, [&](std::size_t task) {
      const std::size_t first = task * kFitRows;
      fit_rows(view.row_range(first, std::min(kFitRows, rows - first)), factor.importance,
               search_of(task_.scheme, true), first, result.matrix);
    });
    threads.execute([&] { gptq({decoded.data(), rows, cols}, factor, result.matrix); });
    result.errors = matrix_errors(view, result.matrix);
    sink(i, result);
  }

  LinearTask task_;
  const StatisticsFile& statistics_;
  CalibratedMethod method_;
  AwqFolds folds_;
  std::map<std::pair<std::size_t, std::size_t>, std::vector<std::size_t>> groups_;  // input, part
  std::vector<std::size_t> unknown_;  // linears without statistics
};

}  // namespace

std::unique_ptr<LinearQuantizer> make_calibrated_quantizer(const LinearTask& task,
                                                           const StatisticsFile& statistics,
                                                           const CalibratedMethod& method) {
  if (!statistics.header().has_gram) {
    throw ValidationError({.where = statistics.path().string(),
                           .found = "statistics without second moments",
                           .expected = "X^T X of every input, which AWQ and GPTQ need",
                           .remedy = "make them with qwodel calibrate --gram"});
  }
  return std::make_unique<CalibratedQuantizer>(task, statistics, method);
}

}  // namespace qwodel
