// Query, key and value rows of one projection that stores them in groups: every group has the rows
// of some query heads, then those of one key head, then those of one value head. One group per head
// is the layout of GPT-NeoX and Bloom, one per key-value head that of Falcon and InternLM2.
#pragma once

#include <cstdint>
#include <vector>

#include "models/registry.h"

namespace qwodel {

// Views of shape (groups, heads of a group, rows of a head, the axes after the rows).
struct GroupedQkv {
  TensorView q, k, v;
};

// REQUIRES: heads and groups are not 0. Throws ValidationError when the heads cannot be spread over
// the groups or the rows of the tensor over (heads + 2 * groups).
GroupedQkv split_grouped_qkv(const RuleMatch& match, std::uint64_t heads, std::uint64_t groups);

// A tensor of the same shape with all query rows first, then all key, then all value rows.
void regroup_qkv(const RuleMatch& match, std::uint64_t heads, std::uint64_t groups,
                 std::vector<ModelTensor>& out);

// regroup_qkv with one group per head of config.json: a Transform.
void regroup_qkv_per_head(const ModelContext& model, const RuleMatch& match,
                          std::vector<ModelTensor>& out);

// Axis 2 of a view, 2n rotary rows, split so that row i of the first half and row i of the second
// come one after the other: (groups, heads, n, 2, ...). Throws ValidationError for an odd number.
TensorView interleave_rotary_rows(const RuleMatch& match, TensorView view);

}  // namespace qwodel
