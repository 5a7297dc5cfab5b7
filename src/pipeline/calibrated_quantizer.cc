#include <algorithm>
#include <map>
#include <utility>

#include "methods/second_moments.h"
#include "pipeline/awq_folds.h"
#include "pipeline/fold_check.h"
#include "pipeline/linear_quantizer.h"
#include "pipeline/moment_quantizer.h"
#include "pipeline/progress_meter.h"

namespace qwodel {
namespace {

class CalibratedQuantizer final : public LinearQuantizer {
 public:
  CalibratedQuantizer(const LinearTask& task, const StatisticsFile& statistics,
                      const CalibratedMethod& method)
      : task_(task), statistics_(statistics), method_(method) {
    if (method_.scale) {
      folds_ =
          measure(task.times, "channel scales", [&] { return find_awq_folds(task, statistics); });
    }
    for (std::size_t i = 0; i < task.plan.linears.size(); ++i) {
      if (task.is_finished(i)) continue;
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
    const MomentQuantizer quantizer(task_, method_, folds_);
    for (const auto& [where, linears] : groups_) {
      throw_if_cancelled(task_.cancel);
      const auto& input = statistics_.inputs()[where.first];
      SecondMoments moments = second_moments(statistics_.read_part(where.first, where.second), 0,
                                             static_cast<std::size_t>(input.width));
      divide_moments(moments, linears.front());
      quantizer.quantize(linears, moments, {}, sink);
    }
    for (const std::size_t i : unknown_) quantizer.round(i, sink);
  }

  std::map<std::uint32_t, std::vector<float>> replaced() const override { return folds_.replaced; }
  std::vector<std::string> warnings() const override { return fold_warnings(folds_); }

 private:
  // Inputs that the columns' scales make smaller. Linears that read one input have the same scales.
  void divide_moments(SecondMoments& moments, std::size_t linear) const {
    if (folds_.columns.empty() || folds_.columns[linear].empty()) return;
    divide_channels(moments, folds_.columns[linear]);
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
  require_gram(statistics);
  return std::make_unique<CalibratedQuantizer>(task, statistics, method);
}

}  // namespace qwodel
