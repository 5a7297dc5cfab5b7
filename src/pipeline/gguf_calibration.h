// What statistics of activations change about how the tensors of a GGUF are encoded: AWQ's scales,
// and GPTQ's feedback into the types' blocks.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/statistics.h"
#include "graph/graph.h"
#include "pipeline/encoded_tensors.h"
#include "pipeline/gguf_feedback.h"
#include "pipeline/gguf_folds.h"
#include "pipeline/linear_quantizer.h"
#include "pipeline/phase_times.h"
#include "pipeline/source_model.h"
#include "plan/tensor_plan.h"
#include "qwodel/quantize.h"
#include "sources/graph_weights.h"

namespace qwodel {

class GgufCalibration {
 public:
  // Everything outlives it. Searches AWQ's scales if `steps` have them. With `sequence`, what takes
  // feedback is encoded true-sequentially, into a folder that an interrupted or killed run leaves
  // to one that resumes. Throws ValidationError for statistics of another model or without
  // second moments, QuantizationError, DependencyError, Error (interrupted).
  GgufCalibration(const QuantizeOptions& options, const SourceModel& model,
                  const std::vector<PlanInput>& inputs, const TensorPlan& plan,
                  const CalibratedMethod& steps,
                  const std::optional<EncodedTensors::Work>& sequence);
  GgufCalibration(const GgufCalibration&) = delete;
  GgufCalibration& operator=(const GgufCalibration&) = delete;

  // What is encoded, one per ModelSpec::tensors, and as what.
  const std::vector<ModelTensorReader>& readers() const;
  const std::vector<PlanInput>& inputs() const { return inputs_; }
  const TensorPlan& plan() const;

  // Null: codecs encode all tensors by themselves.
  const RowEncoder* encoder() const;

  // Leaves what is encoded for a run that resumes.
  void keep() {
    if (encoded_ != nullptr) encoded_->keep();
  }

  // How long the parts of a true-sequential run took; nothing of others.
  const std::vector<PhaseTime>& phases() const { return times_.phases(); }

  // What is done with a tensor of the plan, `method` without statistics.
  std::string method_of(const PlannedTensor& planned, const std::string& method) const;

 private:
  void encode_in_sequence(const QuantizeOptions& options, const EncodedTensors::Work& work);

  const SourceModel& model_;
  const TensorPlan& plan_;
  std::vector<PlanInput> inputs_;
  Graph graph_;
  CheckpointWeights weights_;
  StatisticsFile statistics_;
  std::unique_ptr<TensorFolds> folds_;
  std::unique_ptr<ScaledPlan> scaled_;
  std::unique_ptr<GgufFeedback> feedback_;
  std::unique_ptr<EncodedTensors> encoded_;
  PhaseTimes times_;
};

}  // namespace qwodel
