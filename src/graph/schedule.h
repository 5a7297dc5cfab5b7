// The order of work in a stage: its operations cut into steps.
//
// Operations that treat every row by itself run together on one tile of rows after the other, so
// that what they hand on stays in the processor's cache and never exists for the whole batch.
// Attention, routing and experts look across rows and are steps of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "graph/graph.h"
#include "graph/weight_cache.h"

namespace qwodel {

// Operations [first, last) of the stage.
struct Step {
  std::size_t first = 0;
  std::size_t last = 0;
  bool by_rows = false;
  RowKind rows = RowKind::tokens;          // of all values, when by_rows
  std::vector<std::uint64_t> slot_widths;  // columns of the tile's own buffers
};

struct Schedule {
  std::vector<Step> steps;
  std::vector<std::uint32_t> slots;   // of each value: index of its tile buffer in the one step
                                      // that knows it, or kNoId: it exists for the whole batch
  std::vector<std::size_t> last_use;  // of each value: the last operation that reads it
  std::vector<std::uint64_t> rows_per_token;  // of each value
};

// `ops` says how many operations of the stage run (the head's linear and what follows are left to
// Executor::logits). When `observed`, values that linears read exist for the whole batch. A step
// begins at each of the operations `cuts`.
Schedule make_schedule(const Stage& stage, std::size_t ops, ValueId output, bool observed,
                       std::span<const std::size_t> cuts, const WeightCache& weights);

// The matrices that an operation multiplies with; none for an ExpertLinearOp, which loads its own.
WeightId matrix_of(const Op& op);

// True for operations whose input statistics an observer wants.
bool is_linear(const Op& op);

}  // namespace qwodel
