#include "methods/gptq.h"

#include <oneapi/dnnl/dnnl.h>
#include <tbb/enumerable_thread_specific.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <array>
#include <vector>

#include "kernels/error_feedback.h"

namespace qwodel {
namespace {

constexpr std::size_t kBlockColumns = 128;
constexpr std::size_t kTileRows = 128;

// One tile of rows, transposed: column i of the order is a run of kTileRows values.
struct RowTile {
  std::vector<float> weights, errors;  // [d, kTileRows]
  std::vector<std::uint8_t> codes;     // [d, kTileRows]
  std::vector<float> scales, zeros;    // [groups, kTileRows]
};

class GptqJob {
 public:
  GptqJob(MatrixView weights, const HessianFactor& factor, GroupIntMatrix& out)
      : weights_(weights), factor_(factor), out_(out) {}

  void run() {
    const std::size_t tiles = (weights_.rows + kTileRows - 1) / kTileRows;
    tbb::parallel_for(std::size_t{0}, tiles, [&](std::size_t tile) {
      RowTile& scratch = scratch_.local();
      const std::size_t row = tile * kTileRows;
      const std::size_t rows = std::min(kTileRows, weights_.rows - row);
      load(row, rows, scratch);
      solve(scratch);
      store(row, rows, scratch);
    });
  }

 private:
  // Rows beyond the last are zeros with a scale of 1.
  void load(std::size_t row, std::size_t rows, RowTile& tile) const {
    const std::size_t d = factor_.size();
    tile.weights.assign(d * kTileRows, 0.0f);
    tile.errors.resize(d * kTileRows);
    tile.codes.resize(d * kTileRows);
    tile.scales.assign(out_.groups() * kTileRows, 1.0f);
    tile.zeros.assign(out_.groups() * kTileRows, 0.0f);
    for (std::size_t i = 0; i < d; ++i) {
      const std::uint32_t column = factor_.order[i];
      if (factor_.dead[column]) continue;
      for (std::size_t r = 0; r < rows; ++r) {
        tile.weights[i * kTileRows + r] = weights_.data[(row + r) * weights_.stride + column];
      }
    }
    for (std::size_t group = 0; group < out_.groups(); ++group) {
      for (std::size_t r = 0; r < rows; ++r) {
        const std::size_t from = (row + r) * out_.groups() + group;
        tile.scales[group * kTileRows + r] = out_.scales[from];
        tile.zeros[group * kTileRows + r] = static_cast<float>(out_.zeros[from]);
      }
    }
  }

  // Errors of all earlier blocks reach a block just before it is rounded.
  void solve(RowTile& tile) const {
    const std::size_t d = factor_.size();
    for (std::size_t first = 0; first < d; first += kBlockColumns) {
      const std::size_t columns = std::min(kBlockColumns, d - first);
      float* block = tile.weights.data() + first * kTileRows;
      if (first > 0) {
        dnnl_sgemm('T', 'N', static_cast<dnnl_dim_t>(columns), kTileRows,
                   static_cast<dnnl_dim_t>(first), -1.0f, factor_.upper.data() + first,
                   static_cast<dnnl_dim_t>(d), tile.errors.data(), kTileRows, 1.0f, block,
                   kTileRows);
      }
      round_block(tile, first, columns);
    }
  }

  void round_block(RowTile& tile, std::size_t first, std::size_t columns) const {
    std::array<const float*, kBlockColumns> scales{};
    std::array<const float*, kBlockColumns> zeros{};
    for (std::size_t i = 0; i < columns; ++i) {
      const std::size_t group = out_.group_of(factor_.order[first + i]);
      scales[i] = tile.scales.data() + group * kTileRows;
      zeros[i] = tile.zeros.data() + group * kTileRows;
    }
    feed_back_groups({.weights = tile.weights.data() + first * kTileRows,
                      .errors = tile.errors.data() + first * kTileRows,
                      .codes = tile.codes.data() + first * kTileRows,
                      .upper = factor_.upper.data() + first * factor_.size() + first,
                      .upper_stride = factor_.size(),
                      .columns = columns,
                      .rows = kTileRows,
                      .bits = out_.scheme.bits},
                     scales.data(), zeros.data());
  }

  void store(std::size_t row, std::size_t rows, const RowTile& tile) const {
    for (std::size_t i = 0; i < factor_.size(); ++i) {
      const std::uint32_t column = factor_.order[i];
      for (std::size_t r = 0; r < rows; ++r) {
        out_.codes[(row + r) * out_.cols + column] = tile.codes[i * kTileRows + r];
      }
    }
    for (std::size_t r = 0; r < rows; ++r) out_.decode(row + r, weights_.row(row + r));
  }

  MatrixView weights_;
  const HessianFactor& factor_;
  GroupIntMatrix& out_;
  tbb::enumerable_thread_specific<RowTile> scratch_;
};

}  // namespace

void gptq(MatrixView weights, const HessianFactor& factor, GroupIntMatrix& out) {
  GptqJob(weights, factor, out).run();
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
