// Rotary pairs as halves of a head.
//
// Rows of query and key projections may lie so that a rotary pair is two neighbours. A score is a
// sum over the columns of a head, so the rows of both may be put into another order, if it is the
// same for both: with the pairs' first members before their second ones, a rotation is two slices
// and a concatenation, the form that Core ML's compilers know.
#pragma once

#include <set>
#include <unordered_map>

#include "graph/graph.h"
#include "targets/coreml/weight_file.h"

namespace qwodel {

struct HeadOrders {
  std::unordered_map<WeightId, HeadOrder> weights;  // of projections and their biases
  std::set<const Op*> ropes;                        // that rotate reordered rows
};

// For every attention whose queries and keys are rotated projections that nothing else reads. The
// graph must outlive the result.
HeadOrders find_head_orders(const Graph& graph);

}  // namespace qwodel
