#include "methods/palette_gptq.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "core/half.h"
#include "kernels/palette_feedback.h"
#include "methods/gptq_tiles.h"

namespace qwodel {
namespace {

struct TileTables {
  std::vector<float> entries, middles;  // [tables of the tile, 2^bits]
};

// Tables of all rows of the tile; one of zeros for those beyond the last.
TileTables tile_tables(const PaletteMatrix& matrix, std::size_t row, std::size_t group_rows) {
  constexpr float kNever = std::numeric_limits<float>::infinity();
  const std::size_t entries = matrix.scheme.entries();
  const std::size_t first = row / group_rows;
  const std::size_t end = (row + kGptqTileRows - 1) / group_rows + 1;
  TileTables tables;
  tables.entries.assign((end - first) * entries, 0.0f);
  tables.middles.assign((end - first) * entries, kNever);
  for (std::size_t group = first; group < std::min<std::size_t>(end, matrix.groups()); ++group) {
    const auto table = matrix.table(group);
    const std::size_t used = used_entries(table);
    float* to = tables.entries.data() + (group - first) * entries;
    float* middles = tables.middles.data() + (group - first) * entries;
    for (std::size_t i = 0; i < used; ++i) to[i] = half_to_float(table[i]);
    for (std::size_t i = 0; i + 1 < used; ++i) middles[i] = (to[i] + to[i + 1]) * 0.5f;
  }
  return tables;
}

}  // namespace

void gptq(MatrixView weights, const HessianFactor& factor, PaletteMatrix& out) {
  const auto group_rows = static_cast<std::size_t>(out.scheme.group_rows);
  const auto prepare = [&](std::size_t row, std::size_t) -> RoundBlock {
    return
        [=, tables = tile_tables(out, row, group_rows)](const FeedbackBlock& block, std::size_t) {
          feed_back_palettes(block, {.entries = tables.entries.data(),
                                     .middles = tables.middles.data(),
                                     .group_rows = group_rows,
                                     .offset = row % group_rows});
        };
  };
  gptq_tiles(weights, factor, out.scheme.bits, prepare, out.codes);
  tbb::parallel_for(std::size_t{0}, weights.rows,
                    [&](std::size_t row) { out.decode(row, weights.row(row)); });
}

}  // namespace qwodel
