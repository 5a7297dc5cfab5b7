#include "pipeline/gguf_calibration.h"

#include "calibrate/model_hash.h"
#include "models/build_graph.h"
#include "pipeline/artifact_job.h"
#include "pipeline/calibration.h"
#include "pipeline/gguf_sequence.h"

namespace qwodel {

GgufCalibration::GgufCalibration(const QuantizeOptions& options, const SourceModel& model,
                                 const std::vector<PlanInput>& inputs, const TensorPlan& plan,
                                 const CalibratedMethod& steps,
                                 const std::optional<EncodedTensors::Work>& sequence)
    : model_(model),
      plan_(plan),
      inputs_(inputs),
      graph_(build_graph(model.spec)),
      weights_(graph_, model.readers),
      statistics_(options.statistics) {
  require_same_model(statistics_, hash_of_model(graph_, weights_), options.model.string());
  require_gram(statistics_);
  if (steps.scale) {
    folds_ = std::make_unique<TensorFolds>(options, model, graph_, tensor_schemes(inputs_, plan),
                                           statistics_);
    scaled_ = std::make_unique<ScaledPlan>(inputs_, plan, statistics_, *folds_);
    for (const std::string& message : folds_->warnings()) {
      if (options.warning) options.warning(message);
    }
    // Scaled values have more digits than the checkpoint's 16 bits; they are not rounded twice.
    for (const PlannedTensor& planned : plan.tensors) {
      if (planned.quantized) inputs_[planned.input].stored = TensorType::f32;
    }
  }
  if (!steps.feed_back) return;
  feedback_ = std::make_unique<GgufFeedback>(inputs_, this->plan(), statistics_, folds_.get(),
                                             BlockFeedbackOptions{});
  if (sequence) encode_in_sequence(options, *sequence);
}

void GgufCalibration::encode_in_sequence(const QuantizeOptions& options,
                                         const EncodedTensors::Work& work) {
  const GraphWeights& weights =
      folds_ == nullptr ? static_cast<const GraphWeights&>(weights_) : folds_->weights();
  const GgufSequence sequence({.graph = graph_,
                               .weights = weights,
                               .readers = readers(),
                               .inputs = inputs_,
                               .plan = plan(),
                               .mismatch_strength = options.mismatch_strength,
                               .cancel = options.cancel,
                               .threads = thread_count(options),
                               .times = &times_});
  encoded_ =
      std::make_unique<EncodedTensors>(work, inputs_, plan(), sequence.tensors(), feedback_.get());
  try {
    sequence.run(calibration_pass(options, model_, graph_), *encoded_);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::interrupted) keep();
    throw;
  }
}

const RowEncoder* GgufCalibration::encoder() const {
  if (encoded_ != nullptr) return encoded_.get();
  return feedback_.get();
}

const std::vector<ModelTensorReader>& GgufCalibration::readers() const {
  return folds_ == nullptr ? model_.readers : folds_->readers();
}

const TensorPlan& GgufCalibration::plan() const {
  return scaled_ == nullptr ? plan_ : scaled_->plan();
}

std::string GgufCalibration::method_of(const PlannedTensor& planned,
                                       const std::string& method) const {
  const PlanInput& input = inputs_[planned.input];
  const bool fed_back =
      encoder() != nullptr && GgufFeedback::can_encode(input, planned, statistics_);
  const std::string rounding = fed_back ? "gptq" : method;
  return folds_ != nullptr && folds_->scales(input.name) ? "awq+" + rounding : rounding;
}

}  // namespace qwodel
