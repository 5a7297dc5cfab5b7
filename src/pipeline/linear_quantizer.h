// Chooses the scales and codes of a checkpoint's linears.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/statistics.h"
#include "codecs/group_int.h"
#include "graph/executor.h"
#include "graph/graph.h"
#include "kernels/error_sums.h"
#include "pipeline/calibrated_method.h"
#include "pipeline/phase_times.h"
#include "pipeline/source_model.h"
#include "plan/linear_plan.h"
#include "qwodel/progress.h"
#include "qwodel/quantize.h"

namespace qwodel {

// What an interrupted run had done already. Safe to ask from several threads.
class FinishedLinears {
 public:
  virtual ~FinishedLinears() = default;

  // `linear` is an index into the plan.
  virtual bool contains(std::size_t linear) const = 0;

  // Its codes, read back. REQUIRES: contains(linear).
  virtual GroupIntMatrix matrix(std::size_t linear) const = 0;
};

// What a quantizer works on. Everything outlives it.
struct LinearTask {
  const SourceModel& model;
  const Graph& graph;
  const LinearPlan& plan;
  const CancelToken* cancel = nullptr;
  int threads = 1;
  const FinishedLinears* finished = nullptr;  // null: none
  PhaseTimes* times = nullptr;                // may be null
  ComputeType compute = ComputeType::f32;     // of products with second moments; or bf16
  // AWQ's scales are chosen by what layers give on these (block_loss.h); null: by what linears do.
  const TokenSequences* block_tokens = nullptr;

  bool is_finished(std::size_t linear) const {
    return finished != nullptr && finished->contains(linear);
  }
};

struct QuantizedLinear {
  GroupIntMatrix matrix;
  ErrorSums errors;    // of the weights
  std::string method;  // what was done: "gptq", or "search" for an expert that no token reached
  std::optional<CalibratedLinear> calibrated = std::nullopt;
};

class LinearQuantizer {
 public:
  // `linear` is an index into the plan. May be called from several threads at once.
  using Sink = std::function<void(std::size_t linear, const QuantizedLinear& result)>;

  virtual ~LinearQuantizer() = default;

  // Gives every linear of the plan that is not finished once, in any order. Results do not depend
  // on threads. Throws QuantizationError for a weight that is not finite, Error (interrupted).
  virtual void run(const Sink& sink) const = 0;

  // Other tensors of the checkpoint that got new values, by index into ModelSpec::sources.
  virtual std::map<std::uint32_t, std::vector<float>> replaced() const { return {}; }

  // What the user should hear, a sentence each.
  virtual std::vector<std::string> warnings() const { return {}; }
};

// Round to nearest: in the range of each group as it is, or with the scales of the lowest error.
std::unique_ptr<LinearQuantizer> make_rounding_quantizer(const LinearTask& task, bool search);

// Whether a linear's codes are in the checkpoint already and can be stored as its scheme has them.
bool can_repack(const SourceModel& model, const PlannedLinear& linear);

// Takes them over, which loses nothing. A linear that has none is rounded; with `strict` that is a
// FormatNotSupportedError.
std::unique_ptr<LinearQuantizer> make_repacking_quantizer(const LinearTask& task, bool strict);

// With a statistics file, which must have second moments: scales are chosen under their diagonal.
std::unique_ptr<LinearQuantizer> make_calibrated_quantizer(const LinearTask& task,
                                                           const StatisticsFile& statistics,
                                                           const CalibratedMethod& method);

// The text of a calibration, and how it is run.
struct CalibrationPass {
  TokenSequences sequences;
  ExecutorOptions options;
};

// True-sequential: a linear is quantized when its input is known, and runs quantized from then on,
// so later ones see what it really gives. With `statistics`, which scales then need, channels are
// scaled first; else null.
std::unique_ptr<LinearQuantizer> make_sequential_quantizer(const LinearTask& task,
                                                           const StatisticsFile* statistics,
                                                           const CalibrationPass& calibration,
                                                           const CalibratedMethod& method);

// The values of a linear [out_features, in_features]. Throws QuantizationError when one is not
// finite. Pages of the checkpoint behind them are dropped.
std::vector<float> read_linear(const SourceModel& model, const PlannedLinear& linear);

// Fits scales under `importance` (empty: none) and rounds.
QuantizedLinear round_linear(ConstMatrixView values, std::span<const float> importance,
                             const GroupIntScheme& scheme, bool search);

// Squared errors of decoded weights.
ErrorSums matrix_errors(ConstMatrixView values, const GroupIntMatrix& matrix);

}  // namespace qwodel
