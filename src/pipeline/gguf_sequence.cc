#include "pipeline/gguf_sequence.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
#include <unordered_map>

#include "codecs/codec.h"
#include "kernels/convert.h"
#include "methods/mismatch.h"
#include "pipeline/gguf_feedback.h"
#include "pipeline/progress_meter.h"
#include "pipeline/sequential_moments.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::size_t kTaskRows = 64;

std::uint64_t rows_of(const PlanInput& input) {
  return element_count(input.shape) / input.shape.back();
}

// A pass does not stop within the head.
bool is_head(const Graph& graph, const LinearInput& input) {
  return !graph.is_encoder && input.stage + 1 == graph.stages.size();
}

}  // namespace

// What the moments of an input's part give all tensors that read it.
struct GgufSequence::Part {
  std::size_t index = 0;
  std::optional<BlockHessian> hessian;  // nothing when too few tokens came by
  std::vector<float> shift;             // empty: there is no mismatch to make up for
};

GgufSequence::GgufSequence(const GgufSequenceTask& task) : task_(task), threads_(task.threads) {
  std::unordered_map<std::size_t, std::size_t> left;  // input -> index into the plan
  for (std::size_t i = 0; i < task.plan.tensors.size(); ++i) {
    const PlannedTensor& planned = task.plan.tensors[i];
    if (planned.quantized && info(planned.type).is_quantized()) left.emplace(planned.input, i);
  }
  for (LinearInput& input : linear_inputs(task.graph)) {
    if (is_head(task.graph, input)) continue;
    Step step{.input = {}, .tensors = {}};
    for (const WeightId weight : input.weights) {
      const auto found = left.find(task.graph.weights[weight].tensor);
      if (found == left.end()) continue;
      if (task.inputs[found->first].shape.back() != input.width) continue;
      step.tensors.push_back(found->second);
      left.erase(found);
    }
    if (step.tensors.empty()) continue;
    step.input = std::move(input);
    steps_.push_back(std::move(step));
  }
}

std::vector<std::size_t> GgufSequence::tensors() const {
  std::vector<std::size_t> all;
  for (const Step& step : steps_) all.insert(all.end(), step.tensors.begin(), step.tensors.end());
  return all;
}

void GgufSequence::run(const CalibrationPass& calibration, EncodedTensors& encoded) const {
  const EncodedWeights weights(task_.graph, task_.plan, task_.weights, encoded);
  std::vector<LinearInput> inputs;
  for (const Step& step : steps_) inputs.push_back(step.input);
  SequentialMoments pass(
      task_.graph, weights, task_.mismatch_strength > 0 ? &task_.weights : nullptr,
      calibration.sequences, calibration.options, inputs, task_.threads, task_.times);
  for (const Step& step : steps_) {
    pass.advance();
    const auto is_finished = [&](std::size_t tensor) { return encoded.finished(tensor); };
    if (std::ranges::all_of(step.tensors, is_finished)) continue;  // by an earlier run
    std::vector<std::size_t> parts(static_cast<std::size_t>(step.input.parts));
    std::iota(parts.begin(), parts.end(), std::size_t{0});
    pass.visit(parts,
               [&](std::size_t part, const SecondMoments& moments, std::span<const float> cross) {
                 encode(step, part, moments, cross, encoded);
               });
    for (const std::size_t tensor : step.tensors) {
      if (!encoded.finished(tensor)) encoded.finish(tensor);
    }
  }
}

void GgufSequence::encode(const Step& step, std::size_t index, const SecondMoments& moments,
                          std::span<const float> cross, EncodedTensors& encoded) const {
  Part part{.index = index, .hessian = std::nullopt, .shift = {}};
  const std::string& name = task_.inputs[task_.plan.tensors[step.tensors.front()].input].name;
  const std::size_t d = moments.width();
  if (enough_for_feedback(moments.rows, d)) {
    part.hessian = measure(task_.times, "factorization",
                           [&] { return make_block_hessian(moments.matrix(), {}, name); });
    if (!cross.empty()) {
      measure(task_.times, "mismatch", [&] {
        SecondMoments damped = moments;
        damp_channels(damped);
        const HessianFactor factor = factorize_hessian(damped.matrix(), {}, name);
        threads_.execute([&] { part.shift = mismatch({cross.data(), d, d}, factor); });
      });
    }
  }
  for (const std::size_t tensor : step.tensors) {
    if (encoded.finished(tensor)) continue;
    const std::uint64_t all = rows_of(task_.inputs[task_.plan.tensors[tensor].input]);
    const std::uint64_t rows = all / step.input.parts;
    const auto tasks = static_cast<std::size_t>((rows + kTaskRows - 1) / kTaskRows);
    throw_if_cancelled(task_.cancel);
    measure(task_.times, "feedback", [&] {
      threads_.run(tasks, [&](std::size_t i) {
        const std::uint64_t first = i * kTaskRows;
        encode_rows(tensor, index * rows + first,
                    static_cast<std::size_t>(std::min<std::uint64_t>(kTaskRows, rows - first)),
                    part, encoded);
      });
    });
  }
}

void GgufSequence::encode_rows(std::size_t tensor, std::uint64_t first_row, std::size_t rows,
                               const Part& part, EncodedTensors& encoded) const {
  const PlannedTensor& planned = task_.plan.tensors[tensor];
  const PlanInput& input = task_.inputs[planned.input];
  const Codec& codec = *find_codec(planned.type);
  const auto cols = static_cast<std::size_t>(input.shape.back());
  std::vector<float> values(rows * cols);
  task_.readers[planned.input].read(first_row * cols, values);
  if (const std::size_t at = find_non_finite(values.data(), values.size()); at != values.size()) {
    throw QuantizationError({.where = fmt::format("tensor {}", input.name),
                             .found = fmt::format("{} at row {}, column {}", values[at],
                                                  first_row + at / cols, at % cols),
                             .expected = "finite values",
                             .remedy = "the checkpoint is damaged: get it again"});
  }
  std::vector<std::byte> blocks(rows * static_cast<std::size_t>(*bytes_of(planned.type, cols)));
  if (part.hessian && codec.scalar != nullptr) {
    const MatrixView view(values.data(), rows, cols);
    if (!part.shift.empty()) {
      compensate(view, {part.shift.data(), cols, cols}, task_.mismatch_strength);
    }
    feed_back_blocks(view, *part.hessian, *codec.scalar, {}, blocks.data());
  } else {
    const float* importance = nullptr;
    if (planned.importance != nullptr) {
      importance =
          planned.importance->data() + part.index % (planned.importance->size() / cols) * cols;
    }
    codec.encode(values.data(), rows, cols, importance, blocks.data());
  }
  encoded.write(tensor, first_row, blocks);
}

}  // namespace qwodel
