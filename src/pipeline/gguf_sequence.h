// True-sequential feedback into the tensors of a GGUF: a tensor is encoded when its input is known,
// and runs encoded from then on, so later ones see what it really gives.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "calibrate/linear_input.h"
#include "graph/graph.h"
#include "graph/graph_weights.h"
#include "graph/task_threads.h"
#include "methods/block_feedback.h"
#include "methods/second_moments.h"
#include "pipeline/encoded_tensors.h"
#include "pipeline/linear_quantizer.h"
#include "plan/tensor_plan.h"
#include "qwodel/progress.h"
#include "sources/model_tensor_reader.h"

namespace qwodel {

// What the sequence works on. Everything outlives it.
struct GgufSequenceTask {
  const Graph& graph;
  const GraphWeights& weights;                    // as they are before rounding
  const std::vector<ModelTensorReader>& readers;  // of the same, one per input
  const std::vector<PlanInput>& inputs;
  const TensorPlan& plan;
  float mismatch_strength = 0;  // how far a tensor makes up for what earlier ones did; 0: not
  const CancelToken* cancel = nullptr;
  int threads = 1;
  PhaseTimes* times = nullptr;  // may be null
};

class GgufSequence {
 public:
  explicit GgufSequence(const GgufSequenceTask& task);

  // Quantized tensors of layers that a linear reads: those that it encodes. Indices into the plan.
  std::vector<std::size_t> tensors() const;

  // Encodes those not finished, with feedback where the type takes it and enough tokens came by.
  // Throws QuantizationError for values that are not finite, Error (interrupted).
  void run(const CalibrationPass& calibration, EncodedTensors& encoded) const;

 private:
  // An input and the tensors that read it first.
  struct Step {
    LinearInput input;
    std::vector<std::size_t> tensors;
  };
  struct Part;

  void encode(const Step& step, std::size_t part, const SecondMoments& moments,
              std::span<const float> cross, EncodedTensors& encoded) const;
  void encode_rows(std::size_t tensor, std::uint64_t first_row, std::size_t rows, const Part& part,
                   EncodedTensors& encoded) const;

  GgufSequenceTask task_;
  TaskThreads threads_;
  std::vector<Step> steps_;
};

}  // namespace qwodel
