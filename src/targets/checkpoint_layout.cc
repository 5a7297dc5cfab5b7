#include "targets/checkpoint_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "io/json.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kDefaultShard = 5'000'000'000;
constexpr std::string_view kSuffix = ".weight";

// Tensors that stay together.
using Group = std::vector<SafetensorsEntry>;

std::uint64_t size_of(const Group& group) {
  std::uint64_t bytes = 0;
  for (const SafetensorsEntry& entry : group) bytes += byte_size(entry);
  return bytes;
}

std::vector<Group> groups_of(const Weights& weights, const LinearPlan& plan,
                             const LinearFormat& format, CheckpointLayout& layout) {
  std::unordered_map<std::string_view, const PlannedLinear*> linears;
  for (const PlannedLinear& linear : plan.linears) linears.emplace(linear.module, &linear);
  std::vector<Group> groups;
  for (const auto& tensor : weights.tensors()) {
    const std::string_view name = tensor->name();
    const auto found = name.ends_with(kSuffix)
                           ? linears.find(name.substr(0, name.size() - kSuffix.size()))
                           : linears.end();
    if (found == linears.end()) {
      groups.push_back({{tensor->name(), tensor->type(), tensor->shape()}});
      continue;
    }
    const PlannedLinear& linear = *found->second;
    format.check(linear.scheme);
    groups.push_back(
        format.entries(linear.module, linear.scheme, linear.out_features, linear.in_features));
    layout.extents[linear.module] = {static_cast<std::int64_t>(linear.out_features),
                                     static_cast<std::int64_t>(linear.in_features)};
    for (const SafetensorsEntry& entry : groups.back()) {
      layout.linears[linear.module].push_back(entry.name);
    }
  }
  return groups;
}

// Shards in order, each filled up to the limit (a group larger than that has one of its own).
std::vector<Group> split(std::vector<Group> groups, std::uint64_t limit) {
  std::vector<Group> shards;
  std::uint64_t filled = 0;
  for (Group& group : groups) {
    const std::uint64_t bytes = size_of(group);
    if (shards.empty() || (filled > 0 && filled + bytes > limit)) {
      shards.emplace_back();
      filled = 0;
    }
    filled += bytes;
    std::ranges::move(group, std::back_inserter(shards.back()));
  }
  return shards;
}

void sort_by_element(Group& shard) {
  std::ranges::stable_sort(shard, [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return info(a.type).block_bytes > info(b.type).block_bytes;
  });
}

std::string file_name(std::size_t shard, std::size_t shards) {
  if (shards == 1) return "model.safetensors";
  return fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards);
}

}  // namespace

// An 8-bit linear's codes have the name that its weights had.
bool CheckpointLayout::keeps(const std::string& tensor) const {
  if (!slots.contains(tensor)) return false;
  return !tensor.ends_with(kSuffix) ||
         !linears.contains(tensor.substr(0, tensor.size() - kSuffix.size()));
}

Json CheckpointLayout::index() const {
  if (shards.size() == 1) return nullptr;
  Json map = Json::object();
  for (const auto& [name, slot] : slots) map[name] = shards[slot.shard].file;
  return {{"metadata", {{"total_size", data_bytes}}}, {"weight_map", map}};
}

CheckpointLayout lay_out_checkpoint(const Weights& weights, const LinearPlan& plan,
                                    const LinearFormat& format, std::uint64_t max_shard_size) {
  CheckpointLayout layout;
  std::vector<Group> shards = split(groups_of(weights, plan, format, layout),
                                    max_shard_size == 0 ? kDefaultShard : max_shard_size);
  for (std::size_t s = 0; s < shards.size(); ++s) {
    sort_by_element(shards[s]);
    layout.shards.push_back({file_name(s, shards.size()), lay_out_safetensors(shards[s])});
    for (std::size_t i = 0; i < shards[s].size(); ++i) {
      const std::uint64_t bytes = byte_size(shards[s][i]);
      layout.slots[shards[s][i].name] = {s, layout.shards[s].layout.offsets[i], bytes};
      layout.data_bytes += bytes;
    }
  }
  return layout;
}

}  // namespace qwodel
