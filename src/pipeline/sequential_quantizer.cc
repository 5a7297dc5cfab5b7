#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "calibrate/cross_sum.h"
#include "calibrate/gram_sum.h"
#include "calibrate/linear_input.h"
#include "graph/segmented_pass.h"
#include "methods/second_moments.h"
#include "pipeline/awq_folds.h"
#include "pipeline/fold_check.h"
#include "pipeline/fold_weights.h"
#include "pipeline/linear_quantizer.h"
#include "pipeline/moment_quantizer.h"
#include "pipeline/progress_meter.h"
#include "sources/replaceable_weights.h"

namespace qwodel {
namespace {

// Gram matrices that are summed at once; of more experts some are summed after the others.
constexpr std::uint64_t kGramBytes = std::uint64_t{1} << 30;

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
    if (method_.scale) folds_ = find_awq_folds(task, *statistics);
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
      quantizer.round(linear, {}, replace);
    }

    const Executor executor(task_.graph, weights, calibration_.options);
    SegmentedPass pass(executor, calibration_.sequences, cuts());
    ReplaceableWeights originals(task_.graph, task_.model.spec, *task_.model.weights);
    fold_weights(task_, folds_, originals);
    ExecutorOptions options = calibration_.options;
    options.progress = {};
    const Executor original_executor(task_.graph, originals, options);
    SegmentedPass original(original_executor, calibration_.sequences, cuts());
    const bool compensates = method_.feed_back && method_.mismatch_strength > 0;

    std::size_t stage = 0;
    while (const auto cut = pass.advance()) {
      if (compensates) original.advance();
      if (cut->stage != stage) forget_stage(stage, weights);
      stage = cut->stage;
      QuantizedInput input = inputs_.at(*cut);
      for (auto& [part, linears] : input.linears) linears = pending(linears, weights);
      std::erase_if(input.linears, [](const auto& part) { return part.second.empty(); });
      const SegmentedPass* reference =
          compensates && input.input.kind == InputParts::whole ? &original : nullptr;
      quantize(input, pass, reference, executor.compute(), quantizer, replace);
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

  std::vector<PassCut> cuts() const {
    std::vector<PassCut> result;
    for (const auto& [cut, input] : inputs_) result.push_back(cut);
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

  void quantize(const QuantizedInput& input, const SegmentedPass& pass,
                const SegmentedPass* original, ComputeType compute,
                const MomentQuantizer& quantizer, const Sink& sink) const {
    const std::uint64_t bytes = input.input.width * input.input.width * sizeof(float);
    const auto at_once = static_cast<std::size_t>(std::max<std::uint64_t>(1, kGramBytes / bytes));
    auto next = input.linears.begin();
    while (next != input.linears.end()) {
      throw_if_cancelled(task_.cancel);
      const auto last = std::next(
          next, static_cast<std::ptrdiff_t>(std::min(
                    at_once, static_cast<std::size_t>(std::distance(next, input.linears.end())))));
      const auto sums =
          collect(input, next->first, std::prev(last)->first, pass, compute, quantizer.threads());
      for (; next != last; ++next) {
        const auto found = sums.find(next->first);
        const SecondMoments moments =
            moments_of(found == sums.end() ? nullptr : &found->second, input.input.width);
        const std::vector<float> cross =
            original == nullptr || moments.rows == 0
                ? std::vector<float>()
                : cross_moments(input, pass, *original, compute, moments.rows, quantizer.threads());
        quantizer.quantize(next->second, moments, cross, sink);
      }
    }
  }

  struct PartSums {
    GramSum gram;
    std::uint64_t rows = 0;
  };

  // Of parts [first, last].
  static std::map<std::size_t, PartSums> collect(const QuantizedInput& input, std::size_t first,
                                                 std::size_t last, const SegmentedPass& pass,
                                                 ComputeType compute, const TaskThreads& threads) {
    std::map<std::size_t, PartSums> sums;
    const auto width = static_cast<std::size_t>(input.input.width);
    for (std::size_t b = 0; b < pass.batches(); ++b) {
      pass.visit(b, [&](std::size_t part, ConstMatrixView rows) {
        if (part < first || part > last) return;
        auto& to = sums.try_emplace(part, PartSums{GramSum(width, compute), 0}).first->second;
        to.gram.add(rows, threads);
        to.rows += rows.rows;
      });
    }
    return sums;
  }

  // Nothing is known without sums.
  static SecondMoments moments_of(const PartSums* sums, std::uint64_t width) {
    const auto d = static_cast<std::size_t>(width);
    InputSums packed;
    packed.counts = {sums == nullptr ? 0 : sums->rows};
    packed.sum_abs.resize(d);
    packed.gram.resize(static_cast<std::size_t>(triangle(width)));
    if (sums != nullptr) sums->gram.store(packed.gram);
    return second_moments(packed, 0, d);
  }

  // (y - x)^T x per row, y of the original model.
  static std::vector<float> cross_moments(const QuantizedInput& input, const SegmentedPass& pass,
                                          const SegmentedPass& original, ComputeType compute,
                                          std::uint64_t rows, const TaskThreads& threads) {
    const auto width = static_cast<std::size_t>(input.input.width);
    CrossSum sum(width, compute);
    std::vector<float> difference;
    for (std::size_t b = 0; b < pass.batches(); ++b) {
      pass.visit(b, [&](std::size_t, ConstMatrixView x) {
        original.visit(b, [&](std::size_t, ConstMatrixView y) {
          difference.resize(x.rows * width);
          threads.run(x.rows, [&](std::size_t r) {
            std::ranges::transform(y.row(r), x.row(r), difference.data() + r * width,
                                   [](float to, float from) { return to - from; });
          });
          sum.add({difference.data(), x.rows, width}, x, threads);
        });
      });
    }
    return sum.scaled(1.0 / static_cast<double>(rows));
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
