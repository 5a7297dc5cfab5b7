#include "pipeline/gguf_folds.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <unordered_map>

#include "codecs/codec.h"
#include "codecs/scalar_layout.h"
#include "core/tensor_type.h"

namespace qwodel {

GroupIntScheme scheme_like(TensorType type) {
  const Codec* codec = find_codec(type);
  if (codec == nullptr || codec->scalar == nullptr) {
    const double bits = std::clamp(std::round(info(type).bits_per_weight()), 2.0, 8.0);
    return {.bits = static_cast<unsigned>(bits), .group_size = 32, .symmetric = true};
  }
  const ScalarRecipe& recipe = codec->scalar->recipe;
  const auto steps = static_cast<unsigned>(recipe.highest - recipe.lowest);
  return {.bits = recipe.table.empty() ? static_cast<unsigned>(std::bit_width(steps)) : 4,
          .group_size = recipe.group,
          .symmetric = recipe.highest_minimum == 0};
}

TensorFolds::SchemeOf tensor_schemes(const std::vector<PlanInput>& inputs, const TensorPlan& plan) {
  std::unordered_map<std::string, TensorType> types;
  for (const PlannedTensor& planned : plan.tensors) {
    if (!planned.quantized || !info(planned.type).is_quantized()) continue;
    types.emplace(inputs[planned.input].name, planned.type);
  }
  return [types = std::move(types)](const std::string& tensor) -> std::optional<GroupIntScheme> {
    const auto type = types.find(tensor);
    if (type == types.end()) return std::nullopt;
    return scheme_like(type->second);
  };
}

ScaledPlan::ScaledPlan(const std::vector<PlanInput>& inputs, const TensorPlan& plan,
                       const StatisticsFile& statistics, const TensorFolds& folds)
    : plan_(plan) {
  for (PlannedTensor& planned : plan_.tensors) {
    const PlanInput& input = inputs[planned.input];
    const auto known = statistics.find(input.name);
    if (planned.importance == nullptr || !known) continue;
    std::vector<float> values = *planned.importance;
    folds.divide(*known, static_cast<std::size_t>(input.shape.back()), values);
    importance_.push_back(std::move(values));
    planned.importance = &importance_.back();
  }
}

}  // namespace qwodel
