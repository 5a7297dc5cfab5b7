#include "models/grouped_qkv.h"

#include <fmt/format.h>

#include <utility>

#include "models/transforms.h"

namespace qwodel {

GroupedQkv split_grouped_qkv(const RuleMatch& match, std::uint64_t heads, std::uint64_t groups) {
  const auto& shape = match.tensor.shape;
  const std::uint64_t group_heads = heads / groups + 2;
  // heads and groups are at most 2^32, so the products below stay within the tensor's own size.
  if (heads % groups != 0 || shape.empty() || shape[0] % groups != 0 ||
      shape[0] / groups % group_heads != 0) {
    throw_bad_shape(match, fmt::format("the rows of {} query, {} key and {} value heads", heads,
                                       groups, groups));
  }
  const std::uint64_t rows = shape[0] / groups / group_heads;
  const TensorView whole = whole_view(match);
  const std::uint64_t stride = whole.strides[0];

  const auto part = [&](std::uint64_t first_head, std::uint64_t count) {
    TensorView view{.source = whole.source,
                    .offset = first_head * rows * stride,
                    .shape = {groups, count, rows},
                    .strides = {group_heads * rows * stride, rows * stride, stride}};
    view.shape.insert(view.shape.end(), shape.begin() + 1, shape.end());
    view.strides.insert(view.strides.end(), whole.strides.begin() + 1, whole.strides.end());
    return view;
  };
  const std::uint64_t queries = group_heads - 2;
  return {part(0, queries), part(queries, 1), part(queries + 1, 1)};
}

void regroup_qkv(const RuleMatch& match, std::uint64_t heads, std::uint64_t groups,
                 std::vector<ModelTensor>& out) {
  GroupedQkv views = split_grouped_qkv(match, heads, groups);
  ModelTensor tensor{.name = match.name, .shape = match.tensor.shape, .parts = {}, .generated = {}};
  tensor.parts = {std::move(views.q), std::move(views.k), std::move(views.v)};
  out.push_back(std::move(tensor));
}

void regroup_qkv_per_head(const ModelContext& model, const RuleMatch& match,
                          std::vector<ModelTensor>& out) {
  const std::uint64_t heads = model.config.values.heads();
  regroup_qkv(match, heads, heads, out);
}

TensorView interleave_rotary_rows(const RuleMatch& match, TensorView view) {
  if (view.shape[2] % 2 != 0) throw_bad_shape(match, "an even number of rows in each head");
  const std::uint64_t half = view.shape[2] / 2;
  const std::uint64_t stride = view.strides[2];
  view.shape[2] = half;
  view.shape.insert(view.shape.begin() + 3, 2);
  view.strides.insert(view.strides.begin() + 3, half * stride);
  return view;
}

}  // namespace qwodel
