#include "methods/gptq.h"

#include <oneapi/dnnl/dnnl.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <vector>

#include "methods/gptq_tiles.h"

namespace qwodel {
namespace {

// Parameters of a tile's rows, by group.
struct TileGroups {
  std::vector<float> scales, zeros;  // [groups, kGptqTileRows]
};

// Rows beyond the last have a scale of 1.
TileGroups tile_groups(const GroupIntMatrix& matrix, std::size_t row, std::size_t rows) {
  TileGroups groups;
  groups.scales.assign(matrix.groups() * kGptqTileRows, 1.0f);
  groups.zeros.assign(matrix.groups() * kGptqTileRows, 0.0f);
  for (std::size_t group = 0; group < matrix.groups(); ++group) {
    for (std::size_t r = 0; r < rows; ++r) {
      const std::size_t from = (row + r) * matrix.groups() + group;
      groups.scales[group * kGptqTileRows + r] = matrix.scales[from];
      groups.zeros[group * kGptqTileRows + r] = static_cast<float>(matrix.zeros[from]);
    }
  }
  return groups;
}

}  // namespace

void gptq(MatrixView weights, const HessianFactor& factor, GroupIntMatrix& out) {
  const auto prepare = [&](std::size_t row, std::size_t rows) -> RoundBlock {
    return
        [&, groups = tile_groups(out, row, rows)](const FeedbackBlock& block, std::size_t first) {
          std::vector<const float*> scales(block.columns), zeros(block.columns);
          for (std::size_t i = 0; i < block.columns; ++i) {
            const std::size_t group = out.group_of(factor.order[first + i]);
            scales[i] = groups.scales.data() + group * kGptqTileRows;
            zeros[i] = groups.zeros.data() + group * kGptqTileRows;
          }
          feed_back_groups(block, scales.data(), zeros.data());
        };
  };
  gptq_tiles(weights, factor, out.scheme.bits, prepare, out.codes);
  tbb::parallel_for(std::size_t{0}, weights.rows,
                    [&](std::size_t row) { out.decode(row, weights.row(row)); });
}

double output_error(ConstMatrixView weights, const GroupIntMatrix& quantized,
                    ConstMatrixView gram) {
  constexpr std::size_t kRows = 64;
  const std::size_t d = weights.cols;
  std::vector<float> difference(kRows * d), product(kRows * d);
  double total = 0;
  for (std::size_t first = 0; first < weights.rows; first += kRows) {
    const std::size_t rows = std::min(kRows, weights.rows - first);
    for (std::size_t r = 0; r < rows; ++r) {
      const std::span<float> row(difference.data() + r * d, d);
      quantized.decode(first + r, row);
      const auto original = weights.row(first + r);
      for (std::size_t i = 0; i < d; ++i) row[i] -= original[i];
    }
    dnnl_sgemm('N', 'N', static_cast<dnnl_dim_t>(rows), static_cast<dnnl_dim_t>(d),
               static_cast<dnnl_dim_t>(d), 1.0f, difference.data(), static_cast<dnnl_dim_t>(d),
               gram.data, static_cast<dnnl_dim_t>(gram.stride), 0.0f, product.data(),
               static_cast<dnnl_dim_t>(d));
    for (std::size_t i = 0; i < rows * d; ++i) {
      total += static_cast<double>(difference[i]) * static_cast<double>(product[i]);
    }
  }
  return total;
}

}  // namespace qwodel
