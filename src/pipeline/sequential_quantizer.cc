#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "calibrate/linear_input.h"
#include "graph/segmented_pass.h"
#include "pipeline/awq_folds.h"
#include "pipeline/fold_check.h"
#include "pipeline/fold_weights.h"
#include "pipeline/linear_quantizer.h"
#include "pipeline/moment_quantizer.h"
#include "pipeline/progress_meter.h"
#include "pipeline/sequential_moments.h"
#include "sources/replaceable_weights.h"

namespace qwodel {
namespace {

// Values of a quantized matrix by position.
void decode_values(const GroupIntMatrix& matrix, std::uint64_t first, std::span<float> out) {
  std::vector<float> row(static_cast<std::size_t>(matrix.cols));
  while (!out.empty()) {
    const auto at = static_cast<std::size_t>(first % matrix.cols);
    const std::size_t count = std::min(row.size() - at, out.size());
    const bool whole = count == row.size();
    matrix.decode(first / matrix.cols, whole ? out.first(count) : std::span(row));
    if (!whole) std::copy_n(row.data() + at, count, out.data());
    out = out.subspan(count);
    first += count;
  }
}

// Planned linears that read one input, by part.
struct QuantizedInput {
  LinearInput input;
  std::map<std::size_t, std::vector<std::size_t>> linears;
};

class SequentialQuantizer final : public LinearQuantizer {
 public:
  SequentialQuantizer(const LinearTask& task, const StatisticsFile* statistics,
                      const CalibrationPass& calibration, const CalibratedMethod& method)
      : task_(task), calibration_(calibration), method_(method) {
    if (method_.scale) {
      folds_ =
          measure(task.times, "channel scales", [&] { return find_awq_folds(task, *statistics); });
    }
    find_inputs();
  }

  void run(const Sink& sink) const override {
    ReplaceableWeights weights(task_.graph, task_.model.spec, *task_.model.weights);
    const MomentQuantizer quantizer(task_, method_, folds_);
    fold_weights(task_, folds_, weights);
    const Sink replace = [&](std::size_t linear, const QuantizedLinear& result) {
      replace_weights(linear, result.matrix, weights);
      sink(linear, result);
    };
    for (const std::size_t linear : pending(unknown_, weights)) {
      quantizer.round(linear, replace);
    }

    // The model without rounding, if it is compared with.
    std::optional<ReplaceableWeights> originals;
    if (method_.feed_back && method_.mismatch_strength > 0) {
      originals.emplace(task_.graph, task_.model.spec, *task_.model.weights);
      fold_weights(task_, folds_, *originals);
    }
    SequentialMoments moments(task_.graph, weights, originals ? &*originals : nullptr,
                              calibration_.sequences, calibration_.options, inputs(), task_.threads,
                              task_.times);
    std::size_t stage = 0;
    while (const LinearInput* at = moments.advance()) {
      throw_if_cancelled(task_.cancel);
      if (at->stage != stage) forget_stage(stage, weights);
      stage = at->stage;
      std::map<std::size_t, std::vector<std::size_t>> linears;
      std::vector<std::size_t> parts;
      for (const auto& [part, all] : inputs_.at({at->stage, at->op}).linears) {
        auto rest = pending(all, weights);
        if (rest.empty()) continue;
        linears.emplace(part, std::move(rest));
        parts.push_back(part);
      }
      moments.visit(parts, [&](std::size_t part, SecondMoments moments_of_part,
                               std::span<const float> cross) {
        throw_if_cancelled(task_.cancel);
        quantizer.quantize(linears.at(part), std::move(moments_of_part), cross, replace);
      });
    }
  }

  std::map<std::uint32_t, std::vector<float>> replaced() const override { return folds_.replaced; }
  std::vector<std::string> warnings() const override { return fold_warnings(folds_); }

 private:
  void find_inputs() {
    std::map<WeightId, std::size_t> by_weight;
    const std::vector<LinearInput> all = linear_inputs(task_.graph);
    for (std::size_t i = 0; i < all.size(); ++i) {
      for (const WeightId weight : all[i].weights) by_weight.emplace(weight, i);
    }
    for (std::size_t i = 0; i < task_.plan.linears.size(); ++i) {
      const PlannedLinear& linear = task_.plan.linears[i];
      const LinearInput& input = all[by_weight.at(linear.weight)];
      if (input.width != linear.in_features) {
        unknown_.push_back(i);
        continue;
      }
      QuantizedInput& to = inputs_[{input.stage, input.op}];
      to.input = input;
      to.linears[input.parts == 1 ? 0 : linear.part].push_back(i);
    }
  }

  std::vector<LinearInput> inputs() const {
    std::vector<LinearInput> result;
    for (const auto& [cut, input] : inputs_) result.push_back(input.input);
    return result;
  }

  void replace_weights(std::size_t linear, GroupIntMatrix quantized,
                       ReplaceableWeights& weights) const {
    const auto matrix = std::make_shared<const GroupIntMatrix>(std::move(quantized));
    weights.replace(task_.plan.linears[linear].source,
                    [matrix](std::uint64_t first, std::span<float> out) {
                      decode_values(*matrix, first, out);
                    });
  }

  // Those that are not finished; the others run as an earlier run quantized them.
  std::vector<std::size_t> pending(const std::vector<std::size_t>& linears,
                                   ReplaceableWeights& weights) const {
    std::vector<std::size_t> rest;
    for (const std::size_t linear : linears) {
      if (task_.is_finished(linear)) {
        replace_weights(linear, task_.finished->matrix(linear), weights);
      } else {
        rest.push_back(linear);
      }
    }
    return rest;
  }

  // Frees what a stage that will not run again was quantized to.
  void forget_stage(std::size_t stage, ReplaceableWeights& weights) const {
    for (auto it = inputs_.lower_bound({stage, 0}); it != inputs_.end() && it->first.stage == stage;
         ++it) {
      for (const auto& [part, linears] : it->second.linears) {
        for (const std::size_t i : linears) weights.replace(task_.plan.linears[i].source, {});
      }
    }
  }

  LinearTask task_;
  const CalibrationPass& calibration_;
  CalibratedMethod method_;
  AwqFolds folds_;
  std::map<PassCut, QuantizedInput> inputs_;
  std::vector<std::size_t> unknown_;  // linears without an input of their own width
};

}  // namespace

std::unique_ptr<LinearQuantizer> make_sequential_quantizer(const LinearTask& task,
                                                           const StatisticsFile* statistics,
                                                           const CalibrationPass& calibration,
                                                           const CalibratedMethod& method) {
  return std::make_unique<SequentialQuantizer>(task, statistics, calibration, method);
}

}  // namespace qwodel
