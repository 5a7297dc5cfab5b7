#include "models/graph_builder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "formats/tensor_info.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

std::vector<std::uint64_t> without_ones(std::vector<std::uint64_t> shape) {
  std::erase(shape, std::uint64_t{1});
  return shape;
}

[[noreturn]] void fail_shape(const ModelTensor& tensor, std::string expected) {
  throw ValidationError({.where = tensor.name,
                         .found = "shape " + shape_text(tensor.shape),
                         .expected = std::move(expected),
                         .remedy = {}});
}

// Tensors that parametrize an operation instead of being one's weight, and those of further layers
// that predict more tokens than the next.
bool is_no_weight(std::string_view name) {
  return name.starts_with("rope_") || name.find(".nextn.") != std::string_view::npos;
}

}  // namespace

GraphBuilder::GraphBuilder(const ModelSpec& spec) : spec_(spec) {
  for (std::size_t i = 0; i < spec.tensors.size(); ++i) {
    tensors_.emplace(spec.tensors[i].name, static_cast<std::uint32_t>(i));
  }
  weight_of_.assign(spec.tensors.size(), kNoId);
}

const ModelTensor* GraphBuilder::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &spec_.tensors[found->second];
}

const ModelTensor& GraphBuilder::require(std::string_view name) const {
  if (const ModelTensor* tensor = find(name)) return *tensor;
  throw ValidationError({.where = spec_.architecture,
                         .found = fmt::format("no tensor {}", name),
                         .expected = "every tensor that its metadata promise",
                         .remedy = {}});
}

WeightId GraphBuilder::weight(const std::string& name, const std::vector<std::uint64_t>& shape) {
  const ModelTensor& tensor = require(name);
  if (without_ones(tensor.shape) != without_ones(shape)) fail_shape(tensor, shape_text(shape));
  const std::uint32_t index = tensors_.at(name);
  WeightId& id = weight_of_[index];
  if (id == kNoId) {
    id = static_cast<WeightId>(graph_.weights.size());
    graph_.weights.push_back({name, index, shape});
  }
  return id;
}

WeightId GraphBuilder::find_weight(const std::string& name,
                                   const std::vector<std::uint64_t>& shape) {
  return has(name) ? weight(name, shape) : kNoId;
}

ValueId GraphBuilder::begin_stage(std::string name, std::uint64_t width) {
  Stage& stage = graph_.stages.emplace_back();
  stage.name = std::move(name);
  if (width == 0) return kNoId;
  stage.values.push_back({width, RowKind::tokens});
  stage.input = 0;
  return stage.input;
}

void GraphBuilder::end_stage(ValueId output) { graph_.stages.back().output = output; }

ValueId GraphBuilder::add_op(OpKind kind, std::vector<ValueId> inputs, std::uint64_t width) {
  const RowKind rows =
      inputs.empty() ? RowKind::tokens : graph_.stages.back().values.at(inputs.front()).rows;
  return add_op(std::move(kind), std::move(inputs), width, rows);
}

ValueId GraphBuilder::add_op(OpKind kind, std::vector<ValueId> inputs, std::uint64_t width,
                             RowKind rows) {
  Stage& stage = graph_.stages.back();
  const auto output = static_cast<ValueId>(stage.values.size());
  stage.values.push_back({width, rows});
  stage.ops.push_back({std::move(kind), std::move(inputs), output});
  return output;
}

std::uint64_t GraphBuilder::width(ValueId value) const {
  return graph_.stages.back().values.at(value).width;
}

ValueId GraphBuilder::linear(ValueId x, const std::string& module) {
  const ModelTensor& tensor = require(module + ".weight");
  // A single output row may be stored as a vector.
  const std::uint64_t out = tensor.shape.size() == 1 ? 1 : tensor.shape.front();
  const WeightId weights = weight(tensor.name, {out, width(x)});
  const WeightId bias = find_weight(module + ".bias", {out});
  return add_op(LinearOp{weights, bias}, {x}, out);
}

ValueId GraphBuilder::expert_linear(ValueId x, ValueId routing, const std::string& module,
                                    std::uint64_t experts) {
  const ModelTensor& tensor = require(module + ".weight");
  if (tensor.shape.size() != 3) fail_shape(tensor, "three axes: expert, output, input");
  const std::uint64_t out = tensor.shape[1];
  const WeightId weights = weight(tensor.name, {experts, out, width(x)});
  const WeightId bias = find_weight(module + ".bias", {experts, out});
  return add_op(ExpertLinearOp{weights, bias}, {x, routing}, out, RowKind::routed);
}

ValueId GraphBuilder::norm(ValueId x, const std::string& module, NormKind kind, float epsilon,
                           std::uint64_t group) {
  const auto values_of = [&](const std::string& name) -> WeightId {
    const ModelTensor* tensor = find(name);
    if (tensor == nullptr) return kNoId;
    const bool shared = group != 0 && without_ones(tensor->shape) == std::vector{group};
    if (shared) return weight(name, {group});
    if (group != 0 && tensor->shape.size() == 2) return weight(name, {width(x) / group, group});
    return weight(name, {width(x)});
  };
  const WeightId weights = values_of(module + ".weight");
  const WeightId bias = values_of(module + ".bias");
  return add_op(NormOp{kind, weights, bias, epsilon, group}, {x}, width(x));
}

ValueId GraphBuilder::slice(ValueId x, std::uint64_t groups, std::uint64_t first,
                            std::uint64_t count) {
  return add_op(SliceOp{groups, first, count}, {x}, groups * count);
}

ValueId GraphBuilder::concat(ValueId a, ValueId b, std::uint64_t groups) {
  return add_op(ConcatOp{groups}, {a, b}, width(a) + width(b));
}

ValueId GraphBuilder::add(ValueId a, ValueId b) { return add_op(AddOp{}, {a, b}, width(a)); }

ValueId GraphBuilder::mul(ValueId a, ValueId b) { return add_op(MulOp{}, {a, b}, width(a)); }

ValueId GraphBuilder::scale(ValueId x, float factor) {
  return factor == 1.0f ? x : add_op(ScaleOp{factor}, {x}, width(x));
}

Graph GraphBuilder::finish() {
  for (std::size_t i = 0; i < weight_of_.size(); ++i) {
    const std::string& name = spec_.tensors[i].name;
    if (weight_of_[i] != kNoId || is_no_weight(name)) continue;
    throw FormatNotSupportedError(
        {.where = name,
         .found = "a tensor that the graph of " + spec_.architecture + " has no place for",
         .expected = "only tensors that it computes with",
         .remedy = {}});
  }
  return std::move(graph_);
}

}  // namespace qwodel
