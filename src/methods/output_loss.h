// What quantizing a linear does to its outputs: the squared error of them under the second moments
// of the inputs, as a part of the outputs' own squares.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "codecs/group_int.h"
#include "core/matrix.h"
#include "graph/task_threads.h"
#include "methods/quadratic_form.h"

namespace qwodel {

struct OutputLoss {
  double nearest = 0;    // of weights rounded to nearest, in the range of each group
  double quantized = 0;  // of those that were chosen
};

// What AWQ did to a linear: weights = original * columns / rows. Empty: nothing.
struct FoldedScales {
  std::span<const float> columns;  // [in_features]
  std::span<const float> rows;     // [out_features]
};

// Outputs are looked at in rows that are spread evenly: enough for a report, and cheap beside the
// quantization of a large linear.
inline constexpr std::size_t kLossRows = 256;

class OutputLossSample {
 public:
  // `wanted` [out_features, in_features]: the weights that give the outputs to come close to. Only
  // rows of the sample are kept.
  explicit OutputLossSample(ConstMatrixView wanted);

  // `weights` [out_features, in_features]: those that rounding to nearest would start from, scaled,
  // too. `moments` are the second moments of the scaled inputs, without damping. All is 0 when the
  // outputs are. The result does not depend on threads.
  OutputLoss measure(ConstMatrixView weights, const GroupIntMatrix& quantized,
                     const QuadraticForm& moments, const FoldedScales& scales,
                     const TaskThreads& threads) const;

 private:
  // Squares of outputs, and of what both kinds of rounding change in them.
  struct Sums {
    double outputs = 0;
    double nearest = 0;
    double quantized = 0;
  };

  Sums measure_rows(std::size_t first, std::size_t count, ConstMatrixView weights,
                    const GroupIntMatrix& quantized, const QuadraticForm& moments,
                    const FoldedScales& scales) const;

  std::vector<std::size_t> rows_;  // of the linear
  std::vector<float> wanted_;      // [rows_.size(), in_features]
};

}  // namespace qwodel
