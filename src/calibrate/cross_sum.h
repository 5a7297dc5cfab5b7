// The products Y^T X of two streams of rows, summed over batches: how what a quantized model reads
// goes with what the original reads.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/matrix.h"
#include "graph/executor.h"
#include "graph/task_threads.h"

namespace qwodel {

class CrossSum {
 public:
  // `compute` is f32 or bf16: the type rows are rounded to before they are multiplied.
  CrossSum(std::size_t width, ComputeType compute);

  // Adds y^T x, both [rows, width]. The result does not depend on the number of threads.
  void add(ConstMatrixView y, ConstMatrixView x, const TaskThreads& threads);

  // The sums times `factor`, [width, width].
  std::vector<float> scaled(double factor) const;

 private:
  ComputeType compute_;
  std::vector<double> sums_;  // [width, width]
};

}  // namespace qwodel
