// The products (Y - X)^T X of two streams of rows, summed over batches: how what the original model
// reads differs from what a quantized one reads, along with the latter. Sums are single precision:
// they correct weights by a part of what they say.
#pragma once

#include <cstddef>
#include <vector>

#include "calibrate/token_factor.h"
#include "graph/task_threads.h"

namespace qwodel {

class CrossSum {
 public:
  explicit CrossSum(std::size_t width) : width_(width), sums_(width * width) {}

  // Adds left^T right of a run of rows, both [rows, width], at most GramSum::kRows. The result does
  // not depend on the number of threads.
  void add(const TokenFactor& left, const TokenFactor& right, const TaskThreads& threads);

  // The sums times `factor`, [width, width].
  std::vector<float> scaled(float factor) &&;

 private:
  std::size_t width_;
  std::vector<float> sums_;  // [width, width]
};

}  // namespace qwodel
