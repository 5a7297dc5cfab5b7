// What GPTQ needs of the inputs of a linear: the factor of the inverse of their second moments.
//
// Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
// Transformers" (arXiv 2210.17323), section 3.3, step 3: rounding column i by error e changes the
// best values of the columns after it by -e * U[i, j] / U[i, i], where H^-1 = U^T U.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/matrix.h"

namespace qwodel {

enum class ColumnOrder : std::uint8_t {
  natural,
  activation,  // by falling diagonal of the Hessian; parameters stay those of the column's own
               // group
};

struct HessianOptions {
  double damp_percent = 0.01;  // times the mean of the diagonal, added to it
  ColumnOrder order = ColumnOrder::activation;
};

struct HessianFactor {
  std::vector<std::uint32_t> order;  // order[i]: the column that is rounded as the i-th
  std::vector<float> upper;          // U [d, d] in that order, row-major
  std::vector<float> importance;     // diagonal of the Hessian by column, before damping; >= 0
  std::vector<bool> dead;            // columns whose input was always 0, by column
  double damp_percent = 0;           // what it took to be positive definite

  std::size_t size() const { return order.size(); }
};

// `gram`: X^T X [d, d], symmetric, any common factor. Computed in double precision; damping grows
// tenfold while the matrix is not positive definite. Throws QuantizationError naming `name` when it
// is not at a damping of the diagonal's own size, or holds values that are not finite.
HessianFactor factorize_hessian(ConstMatrixView gram, const HessianOptions& options,
                                const std::string& name);

}  // namespace qwodel
