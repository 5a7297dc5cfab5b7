// The inner loop of GPTQ into palettes: like kernels/error_feedback.h, but a weight's values are
// the entries of its row's table.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/error_feedback.h"

namespace qwodel {

// Tables of `bits` of the block: entries rise. Row r of the block has table r / group_rows, counted
// from `offset` rows before the block's first.
struct PaletteTables {
  const float* entries = nullptr;  // [tables, 2^bits], unused ones infinite
  const float* middles = nullptr;  // [tables, 2^bits]: between an entry and the next, then infinite
  std::size_t group_rows = 1;
  std::size_t offset = 0;
};

// Rounds all columns of the block to the nearest entry, the lower of two.
void feed_back_palettes(const FeedbackBlock& block, const PaletteTables& tables);

}  // namespace qwodel
