#include "methods/palette_gptq.h"

#include <oneapi/dnnl/dnnl.h>
#include <tbb/enumerable_thread_specific.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "core/half.h"
#include "kernels/palette_feedback.h"

namespace qwodel {
namespace {

constexpr std::size_t kBlockColumns = 128;
constexpr std::size_t kTileRows = 128;

// One tile of rows, transposed: column i of the order is a run of kTileRows values.
struct RowTile {
  std::vector<float> weights, errors;   // [d, kTileRows]
  std::vector<std::uint8_t> codes;      // [d, kTileRows]
  std::vector<float> entries, middles;  // [tables of the tile, 2^bits]
};

class PaletteGptq {
 public:
  PaletteGptq(MatrixView weights, const HessianFactor& factor, PaletteMatrix& out)
      : weights_(weights), factor_(factor), out_(out) {}

  void run() {
    const std::size_t tiles = (weights_.rows + kTileRows - 1) / kTileRows;
    tbb::parallel_for(std::size_t{0}, tiles, [&](std::size_t tile) {
      RowTile& scratch = scratch_.local();
      const std::size_t row = tile * kTileRows;
      const std::size_t rows = std::min(kTileRows, weights_.rows - row);
      load(row, rows, scratch);
      solve(row, scratch);
      store(row, rows, scratch);
    });
  }

 private:
  std::size_t group_rows() const { return static_cast<std::size_t>(out_.scheme.group_rows); }

  // Rows beyond the last are zeros.
  void load(std::size_t row, std::size_t rows, RowTile& tile) const {
    const std::size_t d = factor_.size();
    tile.weights.assign(d * kTileRows, 0.0f);
    tile.errors.resize(d * kTileRows);
    tile.codes.resize(d * kTileRows);
    for (std::size_t i = 0; i < d; ++i) {
      const std::uint32_t column = factor_.order[i];
      if (factor_.dead[column]) continue;
      for (std::size_t r = 0; r < rows; ++r) {
        tile.weights[i * kTileRows + r] = weights_.data[(row + r) * weights_.stride + column];
      }
    }
    load_tables(row, tile);
  }

  // Tables of all rows of the tile; one of zeros for those beyond the last.
  void load_tables(std::size_t row, RowTile& tile) const {
    constexpr float kNever = std::numeric_limits<float>::infinity();
    const std::size_t entries = out_.scheme.entries();
    const std::size_t first = row / group_rows();
    const std::size_t end = (row + kTileRows - 1) / group_rows() + 1;
    tile.entries.assign((end - first) * entries, 0.0f);
    tile.middles.assign((end - first) * entries, kNever);
    for (std::size_t group = first; group < std::min<std::size_t>(end, out_.groups()); ++group) {
      const auto table = out_.table(group);
      const std::size_t used = used_entries(table);
      float* to = tile.entries.data() + (group - first) * entries;
      float* middles = tile.middles.data() + (group - first) * entries;
      for (std::size_t i = 0; i < used; ++i) to[i] = half_to_float(table[i]);
      for (std::size_t i = 0; i + 1 < used; ++i) middles[i] = (to[i] + to[i + 1]) * 0.5f;
    }
  }

  // Errors of all earlier blocks reach a block just before it is rounded.
  void solve(std::size_t row, RowTile& tile) const {
    const std::size_t d = factor_.size();
    const PaletteTables tables{.entries = tile.entries.data(),
                               .middles = tile.middles.data(),
                               .group_rows = group_rows(),
                               .offset = row % group_rows()};
    for (std::size_t first = 0; first < d; first += kBlockColumns) {
      const std::size_t columns = std::min(kBlockColumns, d - first);
      float* block = tile.weights.data() + first * kTileRows;
      if (first > 0) {
        dnnl_sgemm('T', 'N', static_cast<dnnl_dim_t>(columns), kTileRows,
                   static_cast<dnnl_dim_t>(first), -1.0f, factor_.upper.data() + first,
                   static_cast<dnnl_dim_t>(d), tile.errors.data(), kTileRows, 1.0f, block,
                   kTileRows);
      }
      feed_back_palettes({.weights = block,
                          .errors = tile.errors.data() + first * kTileRows,
                          .codes = tile.codes.data() + first * kTileRows,
                          .upper = factor_.upper.data() + first * d + first,
                          .upper_stride = d,
                          .columns = columns,
                          .rows = kTileRows,
                          .bits = out_.scheme.bits},
                         tables);
    }
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
  PaletteMatrix& out_;
  tbb::enumerable_thread_specific<RowTile> scratch_;
};

}  // namespace

void gptq(MatrixView weights, const HessianFactor& factor, PaletteMatrix& out) {
  PaletteGptq(weights, factor, out).run();
}

}  // namespace qwodel
