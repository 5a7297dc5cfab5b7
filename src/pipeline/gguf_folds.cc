#include "pipeline/gguf_folds.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string_view>
#include <unordered_map>

#include "codecs/codec.h"
#include "codecs/scalar_layout.h"
#include "core/tensor_type.h"
#include "pipeline/fold_weights.h"

namespace qwodel {
namespace {

// Integers in groups like those of the type: what is searched under. Types whose values are coded
// together count by their size.
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

// Linears of tensors that are quantized, with the schemes of their types.
LinearPlan quantized_linears(const SourceModel& model, const Graph& graph,
                             const std::vector<PlanInput>& inputs, const TensorPlan& plan) {
  std::unordered_map<std::string_view, TensorType> types;
  for (const PlannedTensor& planned : plan.tensors) {
    if (!planned.quantized || !info(planned.type).is_quantized()) continue;
    types.emplace(inputs[planned.input].name, planned.type);
  }
  LinearPlan linears = find_linears(model.spec, graph, source_tensors(*model.weights));
  std::erase_if(linears.linears, [&](PlannedLinear& linear) {
    const auto type = types.find(model.spec.tensors[graph.weights[linear.weight].tensor].name);
    if (type == types.end()) return true;
    linear.scheme = scheme_like(type->second);
    return linear.in_features % linear.scheme.group_size != 0;
  });
  return linears;
}

}  // namespace

GgufFolds::GgufFolds(const SourceModel& model, const Graph& graph,
                     const std::vector<PlanInput>& inputs, const TensorPlan& plan,
                     const StatisticsFile& statistics, const CancelToken* cancel, int threads)
    : linears_(quantized_linears(model, graph, inputs, plan)),
      task_{.model = model, .graph = graph, .plan = linears_, .cancel = cancel, .threads = threads},
      folds_(find_awq_folds(task_, statistics)),
      weights_(graph, model.spec, *model.weights),
      scaled_(plan) {
  fold_weights(task_, folds_, weights_);
  for (std::size_t i = 0; i < linears_.linears.size(); ++i) {
    const PlannedLinear& linear = linears_.linears[i];
    const GraphWeight& weight = graph.weights[linear.weight];
    if (!folds_.columns[i].empty()) scaled_tensors_.insert(model.spec.tensors[weight.tensor].name);
    const auto input = statistics.find(weight.name);
    if (!input) continue;
    const bool whole = statistics.inputs()[*input].parts == 1;
    readers_of_.emplace(std::pair(*input, whole ? 0 : linear.part), i);
  }
  for (PlannedTensor& planned : scaled_.tensors) {
    if (planned.importance != nullptr) {
      scale_importance(statistics, inputs[planned.input], planned);
    }
  }
}

const std::vector<float>* GgufFolds::columns(std::size_t input, std::size_t part) const {
  const auto reader = readers_of_.find({input, part});
  if (reader == readers_of_.end() || folds_.columns[reader->second].empty()) return nullptr;
  return &folds_.columns[reader->second];
}

void GgufFolds::divide(std::size_t input, std::size_t part, SecondMoments& moments) const {
  const std::vector<float>* scales = columns(input, part);
  if (scales == nullptr) return;
  divide_channels(moments, *scales);
}

void GgufFolds::scale_importance(const StatisticsFile& statistics, const PlanInput& input,
                                 PlannedTensor& planned) {
  const auto known = statistics.find(input.name);
  if (!known) return;
  std::vector<float> values = *planned.importance;
  const auto cols = static_cast<std::size_t>(input.shape.back());
  const bool whole = statistics.inputs()[*known].parts == 1;
  for (std::size_t part = 0; part < values.size() / cols; ++part) {
    const std::vector<float>* scales = columns(*known, whole ? 0 : part);
    if (scales == nullptr) continue;
    for (std::size_t c = 0; c < cols; ++c) {
      values[part * cols + c] /= (*scales)[c] * (*scales)[c];
    }
  }
  importance_.push_back(std::move(values));
  planned.importance = &importance_.back();
}

}  // namespace qwodel
