// Who feeds whom: for every input of a linear, what made it, who else reads it, and which weights
// could absorb a scale of its channels.
//
// Scaling the columns of all linears that read a value by s, and what makes the value by 1 / s,
// leaves the model's function as it is (AWQ, Lin et al. 2024; SmoothQuant, Xiao et al. 2023). Which
// weights these are follows from the operations alone, so no method needs a table of
// architectures.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "graph/graph.h"

namespace qwodel {

inline constexpr std::size_t kNoOp = std::numeric_limits<std::size_t>::max();

// The weight of a LinearOp, HeadLinearOp or ExpertLinearOp; kNoId for any other operation.
WeightId linear_weight(const Op& op);

// All weights that an operation computes with.
std::vector<WeightId> op_weights(const Op& op);

// A value that at least one linear reads.
struct LinearGroup {
  std::size_t stage = 0;
  ValueId value = kNoId;
  std::size_t producer = kNoOp;      // operation of the stage; kNoOp: the stage's input
  std::vector<std::size_t> linears;  // operations that multiply it by a weight, in order
  std::vector<std::size_t> others;   // all other operations that read it
  bool leaves_stage = false;         // it is the stage's output, too
};

// All of them, in the order in which the first linear of each runs. REQUIRES: a valid graph.
std::vector<LinearGroup> linear_groups(const Graph& graph);

// The operation of the same stage whose weights can be divided by the scales of an input's columns:
// a NormOp (weight and bias) or a linear (rows of its weight, bias).
struct ScaleAbsorber {
  std::size_t op = kNoOp;
  // Column c of the input is a multiple of column channel[c] of what `op` makes. Columns with the
  // same channel must have the same scale (query heads that share a value head, norms whose weight
  // is shared by heads). Channels that are not listed make something else (the queries of a fused
  // projection) and stay.
  std::vector<std::uint32_t> channel;
  // Both are experts: each expert may have scales of its own.
  bool per_expert = false;
};

// Nothing when a reader of the value is no linear, when a weight has other users (a tied
// embedding), or when something between does not commute with scaling: a SiLU or GELU, a rotation,
// a sum, a clamp.
std::optional<ScaleAbsorber> scale_absorber(const Graph& graph, const LinearGroup& input);

}  // namespace qwodel
