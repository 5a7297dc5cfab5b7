#include "calibrate/cross_sum.h"

#include <algorithm>
#include <utility>

#include "core/matrix.h"

namespace qwodel {
namespace {

constexpr std::size_t kTile = 256;

}  // namespace

void CrossSum::add(const TokenFactor& left, const TokenFactor& right, const TaskThreads& threads) {
  const std::size_t tiles = (width_ + kTile - 1) / kTile;
  const MatrixView sums(sums_.data(), width_, width_);
  threads.run(tiles * tiles, [&](std::size_t i) {
    const ColumnRange rows{i / tiles * kTile, std::min(kTile, width_ - i / tiles * kTile)};
    const ColumnRange cols{i % tiles * kTile, std::min(kTile, width_ - i % tiles * kTile)};
    left.multiply(rows, right, cols,
                  sums.row_range(rows.first, rows.count).col_range(cols.first, cols.count),
                  Output::add);
  });
}

std::vector<float> CrossSum::scaled(float factor) && {
  for (float& sum : sums_) sum *= factor;
  return std::move(sums_);
}

}  // namespace qwodel
