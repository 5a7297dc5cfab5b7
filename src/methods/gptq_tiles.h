// What GPTQ does whatever weights are rounded to: rows go in tiles over the threads, the columns of
// a tile in blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "core/matrix.h"
#include "kernels/error_feedback.h"
#include "methods/hessian.h"

namespace qwodel {

inline constexpr std::size_t kGptqTileRows = 128;

// Rounds a block of a tile whose first column is the `first`-th of the factor's order.
using RoundBlock = std::function<void(const FeedbackBlock& block, std::size_t first)>;

// Gives what rounds the tile of rows [row, row + rows); the tile has kGptqTileRows, those beyond
// `rows` are zeros. Called from several threads at once.
using PrepareTile = std::function<RoundBlock(std::size_t row, std::size_t rows)>;

// Writes codes [rows, cols] of `bits` for weights [rows, cols]. Weights of dead columns are taken
// as 0. Same codes for any number of threads. REQUIRES: the factor is of `cols` columns.
void gptq_tiles(ConstMatrixView weights, const HessianFactor& factor, unsigned bits,
                const PrepareTile& prepare, std::span<std::uint8_t> codes);

}  // namespace qwodel
