// The blocks of X^T X that belong to groups of columns: what an error of a group's weights does to
// the outputs, as far as it does not meet errors of other groups.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/matrix.h"
#include "methods/split_factor.h"

namespace qwodel {

class GroupMoments {
 public:
  // Of `gram` [in_features, in_features]; only the blocks are read. Of inputs divided by `scales`
  // [in_features], or by nothing when there are none. `compute` is f32 or bf16;
  // in bf16 both the blocks and the differences are rounded to it: over a whole model, clipping
  // with both halves of the moments instead found errors that differ by 3e-5.
  GroupMoments(ConstMatrixView gram, std::size_t group_size, std::span<const float> scales,
               ComputeType compute);

  // The diagonal of `gram`, of the divided inputs [in_features].
  std::span<const float> mean_squares() const { return diagonal_; }

  // errors[r] = e G e^T of row e = differences[r], G the block of `group`. Thread-safe. REQUIRES:
  // the memory of differences [rows, group_size] goes on to padded_rows(rows).
  void measure(std::size_t group, ConstMatrixView differences, std::span<double> errors,
               SplitBuffers& buffers) const;

  // Products are compiled per number of rows: they are made of a few numbers only.
  static std::size_t padded_rows(std::size_t rows);

 private:
  std::size_t group_size_;
  ComputeType compute_;
  std::vector<SplitFactor> blocks_;
  std::vector<float> diagonal_;
};

}  // namespace qwodel
