// Statistics of a linear's input as the methods use them.
#pragma once

#include <cstddef>
#include <vector>

#include "calibrate/statistics.h"
#include "core/matrix.h"

namespace qwodel {

struct SecondMoments {
  std::vector<float> gram;      // X^T X / rows [width, width], both triangles
  std::vector<float> mean_abs;  // mean |x| [width]
  std::uint64_t rows = 0;       // tokens they come from

  std::size_t width() const { return mean_abs.size(); }
  ConstMatrixView matrix() const { return {gram.data(), width(), width()}; }
};

// Of one part (expert, head) of an input. Without rows everything is 0.
SecondMoments second_moments(const InputSums& sums, std::size_t part, std::size_t width);

}  // namespace qwodel
