// Quantizes the linears that read one input, from the second moments of that input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "graph/task_threads.h"
#include "methods/hessian.h"
#include "methods/output_loss.h"
#include "methods/quadratic_form.h"
#include "methods/second_moments.h"
#include "pipeline/awq_folds.h"
#include "pipeline/linear_quantizer.h"

namespace qwodel {

class MomentQuantizer {
 public:
  // Everything outlives it. `folds` may be empty.
  MomentQuantizer(const LinearTask& task, const CalibratedMethod& method, const AwqFolds& folds)
      : task_(task), method_(method), folds_(folds), threads_(task.threads) {}

  // `linears` are indices into the plan, `moments` those of the input as it is after the folds.
  // `cross`, (y - x)^T x per row of y, what the original model's linears read, and x, may be empty.
  // Throws QuantizationError, Error (interrupted).
  void quantize(std::span<const std::size_t> linears, SecondMoments moments,
                std::span<const float> cross, const LinearQuantizer::Sink& sink) const;

  // A linear of whose inputs nothing is known.
  void round(std::size_t linear, const LinearQuantizer::Sink& sink) const;

  // The linear's weights with what the folds make of them [out_features, in_features].
  std::vector<float> folded(std::size_t linear) const;

  const TaskThreads& threads() const { return threads_; }

 private:
  // What is known of the linears' input.
  struct Input {
    SecondMoments moments;                  // channels are damped
    std::optional<QuadraticForm> measured;  // the moments without damping; nothing without rows
  };

  // What the linears' input has drifted from the original's.
  struct Drift {
    ConstMatrixView cross;        // without data: it has not
    std::vector<float> mismatch;  // of it, for linears that have many rows
  };

  bool has_many_rows(std::size_t linear) const;
  void make_up(std::size_t linear, const Drift& drift, const HessianFactor& factor,
               MatrixView weights) const;
  void fit(ConstMatrixView weights, const HessianFactor& factor, GroupIntMatrix& out) const;
  void feed_back(std::size_t linear, const Input& input, const HessianFactor& factor,
                 const Drift& drift, const LinearQuantizer::Sink& sink) const;
  void round(std::size_t linear, const Input& input, const LinearQuantizer::Sink& sink) const;

  // What a report says of it. `weights` are folded.
  CalibratedLinear describe(std::size_t linear, ConstMatrixView weights,
                            const OutputLossSample& wanted, const GroupIntMatrix& quantized,
                            const Input& input) const;

  LinearTask task_;
  CalibratedMethod method_;
  const AwqFolds& folds_;
  TaskThreads threads_;
};

}  // namespace qwodel
