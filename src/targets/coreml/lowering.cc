#include "targets/coreml/lowering.h"

#include "targets/coreml/mil_ops.h"

namespace qwodel {

Lowering::Lowering(const Graph& graph_to_lower, const GraphWeights& values,
                   const CoremlOptions& how, const std::vector<WeightScheme>& chosen)
    : graph(graph_to_lower),
      weights(values),
      options(how),
      schemes(chosen),
      orders(find_head_orders(graph_to_lower)),
      mil(how.version) {}

const MilValue& Lowering::rows(Activation& value) {
  if (value.rows) return *value.rows;
  const auto& [head_dim, heads] = *value.heads.begin();
  const MilValue swapped = transpose(mil, "swap", heads, {0, 2, 1, 3});
  value.rows =
      reshape(mil, "rows", swapped, {1, heads.dims[2], static_cast<std::int64_t>(value.width)});
  return *value.rows;
}

const MilValue& Lowering::heads(Activation& value, std::uint64_t head_dim) {
  const auto known = value.heads.find(head_dim);
  if (known != value.heads.end()) return known->second;
  const MilValue flat = rows(value);
  const MilDims dims = {1, flat.dims[1], static_cast<std::int64_t>(value.width / head_dim),
                        static_cast<std::int64_t>(head_dim)};
  const MilValue split = reshape(mil, "split", flat, dims);
  return value.heads[head_dim] = transpose(mil, "heads", split, {0, 2, 1, 3});
}

}  // namespace qwodel
