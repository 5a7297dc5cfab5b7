// Mixture of experts: which experts a token goes to, and their products grouped by expert.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "core/matrix.h"
#include "graph/factor_rows.h"
#include "graph/graph.h"
#include "graph/task_threads.h"
#include "graph/weight_cache.h"

namespace qwodel {

// What RouteOp gives. Routed row t * top_k + j is token t at its j-th expert, best first.
struct Routing {
  std::size_t top_k = 0;
  std::vector<std::uint32_t> experts;  // of each routed row
  std::vector<float> weights;          // of each routed row
  std::vector<std::size_t> order;      // routed rows sorted by expert, then by row
  std::vector<std::size_t> begins;     // where each expert's rows begin in `order`, and the end

  std::span<const std::size_t> rows_of(std::size_t expert) const {
    return std::span(order).subspan(begins[expert], begins[expert + 1] - begins[expert]);
  }
};

// `selection_bias` has one value per expert or none.
Routing route(const RouteOp& op, ConstMatrixView logits, std::span<const float> selection_bias,
              const TaskThreads& threads);

// `in` has a row per token or per routed row, `out` per routed row.
void expert_linear(const ExpertLinearOp& op, const Routing& routing, const FactorRows& in,
                   MatrixView out, WeightCache& weights, const Graph& graph,
                   const TaskThreads& threads);

// Calls visit(part, rows) with what a linear reads of its input's rows: all of them, those of each
// expert that has some (its routing is one of `routings`), or the columns of each head.
void visit_linear_rows(const Graph& graph, const Op& op, const FactorRows& rows,
                       const std::map<ValueId, Routing>& routings,
                       const std::function<void(std::size_t, const FactorRows&)>& visit);

// Per token the weighted sum of its routed rows.
void combine(const Routing& routing, ConstMatrixView in, MatrixView out,
             const TaskThreads& threads);

}  // namespace qwodel
