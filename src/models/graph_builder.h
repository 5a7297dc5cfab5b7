// Puts operations into the stages of a graph, with weights looked up among a model's tensors.
//
// Everything a family adds goes through here, so that shapes are compared where the tensor's name
// is known: a ValidationError names the tensor and both shapes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "graph/graph.h"
#include "models/model_spec.h"

namespace qwodel {

class GraphBuilder {
 public:
  explicit GraphBuilder(const ModelSpec& spec);

  const ModelSpec& spec() const { return spec_; }

  // The tensor, or nullptr.
  const ModelTensor* find(std::string_view name) const;
  bool has(std::string_view name) const { return find(name) != nullptr; }
  // Throws ValidationError when there is none.
  const ModelTensor& require(std::string_view name) const;

  // The weight of a tensor, which must have this shape (extents of 1 do not count: files differ in
  // them). Throws ValidationError.
  WeightId weight(const std::string& name, const std::vector<std::uint64_t>& shape);
  // kNoId when there is no such tensor.
  WeightId find_weight(const std::string& name, const std::vector<std::uint64_t>& shape);

  // Opens a stage; the input is a hidden state of `width` columns, or token ids (kNoId) when 0.
  ValueId begin_stage(std::string name, std::uint64_t width);
  void end_stage(ValueId output);

  // An operation of the open stage; its result has the rows of its first input unless `rows` says
  // more.
  ValueId add_op(OpKind kind, std::vector<ValueId> inputs, std::uint64_t width);
  ValueId add_op(OpKind kind, std::vector<ValueId> inputs, std::uint64_t width, RowKind rows);
  std::uint64_t width(ValueId value) const;

  // x W^T + b with MODULE.weight, as many rows as it has, and MODULE.bias if there is one.
  ValueId linear(ValueId x, const std::string& module);
  ValueId expert_linear(ValueId x, ValueId routing, const std::string& module,
                        std::uint64_t experts);
  // MODULE.weight and MODULE.bias as far as there are any; groups of `group` columns share or own
  // their weights.
  ValueId norm(ValueId x, const std::string& module, NormKind kind, float epsilon,
               std::uint64_t group = 0);
  ValueId slice(ValueId x, std::uint64_t groups, std::uint64_t first, std::uint64_t count);
  ValueId concat(ValueId a, ValueId b, std::uint64_t groups);
  ValueId add(ValueId a, ValueId b);
  ValueId mul(ValueId a, ValueId b);
  ValueId scale(ValueId x, float factor);  // x itself when the factor is 1

  // The finished graph. Throws FormatNotSupportedError when a tensor of the model is in no
  // operation: its arithmetic would be missing.
  Graph finish();

 private:
  const ModelSpec& spec_;
  std::unordered_map<std::string_view, std::uint32_t> tensors_;
  std::vector<WeightId> weight_of_;  // per tensor
  Graph graph_;
};

}  // namespace qwodel
