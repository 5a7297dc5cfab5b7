#include "methods/gptq_tiles.h"

#include <oneapi/dnnl/dnnl.h>
#include <tbb/enumerable_thread_specific.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <vector>

namespace qwodel {
namespace {

constexpr std::size_t kBlockColumns = 128;

// Transposed: column i of the order is a run of kGptqTileRows values.
struct Tile {
  std::vector<float> weights, errors;  // [d, kGptqTileRows]
  std::vector<std::uint8_t> codes;     // [d, kGptqTileRows]
};

void load(ConstMatrixView weights, const HessianFactor& factor, std::size_t row, std::size_t rows,
          Tile& tile) {
  const std::size_t d = factor.size();
  tile.weights.assign(d * kGptqTileRows, 0.0f);
  tile.errors.resize(d * kGptqTileRows);
  tile.codes.resize(d * kGptqTileRows);
  for (std::size_t i = 0; i < d; ++i) {
    const std::uint32_t column = factor.order[i];
    if (factor.dead[column]) continue;
    for (std::size_t r = 0; r < rows; ++r) {
      tile.weights[i * kGptqTileRows + r] = weights.data[(row + r) * weights.stride + column];
    }
  }
}

// Errors of all earlier blocks reach a block just before it is rounded.
void solve(const HessianFactor& factor, unsigned bits, const RoundBlock& round, Tile& tile) {
  const std::size_t d = factor.size();
  for (std::size_t first = 0; first < d; first += kBlockColumns) {
    const std::size_t columns = std::min(kBlockColumns, d - first);
    float* block = tile.weights.data() + first * kGptqTileRows;
    if (first > 0) {
      dnnl_sgemm('T', 'N', static_cast<dnnl_dim_t>(columns), kGptqTileRows,
                 static_cast<dnnl_dim_t>(first), -1.0f, factor.upper.data() + first,
                 static_cast<dnnl_dim_t>(d), tile.errors.data(), kGptqTileRows, 1.0f, block,
                 kGptqTileRows);
    }
    round({.weights = block,
           .errors = tile.errors.data() + first * kGptqTileRows,
           .codes = tile.codes.data() + first * kGptqTileRows,
           .upper = factor.upper.data() + first * d + first,
           .upper_stride = d,
           .columns = columns,
           .rows = kGptqTileRows,
           .bits = bits},
          first);
  }
}

void store(const HessianFactor& factor, std::size_t row, std::size_t rows, const Tile& tile,
           std::span<std::uint8_t> codes) {
  const std::size_t d = factor.size();
  for (std::size_t i = 0; i < d; ++i) {
    const std::uint32_t column = factor.order[i];
    for (std::size_t r = 0; r < rows; ++r) {
      codes[(row + r) * d + column] = tile.codes[i * kGptqTileRows + r];
    }
  }
}

}  // namespace

void gptq_tiles(ConstMatrixView weights, const HessianFactor& factor, unsigned bits,
                const PrepareTile& prepare, std::span<std::uint8_t> codes) {
  tbb::enumerable_thread_specific<Tile> tiles;
  const std::size_t count = (weights.rows + kGptqTileRows - 1) / kGptqTileRows;
  tbb::parallel_for(std::size_t{0}, count, [&](std::size_t i) {
    Tile& tile = tiles.local();
    const std::size_t row = i * kGptqTileRows;
    const std::size_t rows = std::min(kGptqTileRows, weights.rows - row);
    load(weights, factor, row, rows, tile);
    solve(factor, bits, prepare(row, rows), tile);
    store(factor, row, rows, tile, codes);
  });
}

}  // namespace qwodel
