#include "pipeline/source_model.h"

#include <algorithm>

#include "models/gguf_model.h"

namespace qwodel {
namespace {

ModelSpec describe(const Checkpoint& checkpoint, const Weights& weights,
                   const ModelOptions& options) {
  if (checkpoint.gguf_metadata()) return describe_gguf(checkpoint);
  return describe_model(checkpoint.directory(), checkpoint.config(), source_tensors(weights),
                        options);
}

bool is_transposed(const ModelTensor& tensor) {
  if (tensor.parts.size() != 1 || tensor.parts.front().shape.size() != 2) return false;
  const TensorView& view = tensor.parts.front();
  TensorView transposed = whole_tensor(view.source, {view.shape[1], view.shape[0]});
  std::ranges::reverse(transposed.shape);
  std::ranges::reverse(transposed.strides);
  return view == transposed;
}

// Linears that are stored as [in_features, out_features] (GPT-2's Conv1D) are read as all others
// are, so that nothing after this knows them.
void transpose_linears(ModelSpec& spec, Weights& weights) {
  for (ModelTensor& tensor : spec.tensors) {
    if (!is_transposed(tensor)) continue;
    TensorView& view = tensor.parts.front();
    weights.transpose(spec.sources[view.source]);
    view = whole_tensor(view.source, view.shape);
  }
}

}  // namespace

std::vector<SourceTensor> source_tensors(const Weights& weights) {
  std::vector<SourceTensor> tensors;
  for (const auto& stored : weights.tensors()) {
    const WeightTensor& tensor = *weights.find(stored->name());
    tensors.push_back({tensor.name(), tensor.shape(), tensor.is_quantized()});
  }
  return tensors;
}

SourceModel::SourceModel(const std::filesystem::path& path, const ModelOptions& options)
    : checkpoint(open_checkpoint(path)),
      weights(std::make_unique<Weights>(*checkpoint)),
      spec(describe(*checkpoint, *weights, options)) {
  if (!is_gguf()) transpose_linears(spec, *weights);
  readers.reserve(spec.tensors.size());
  for (const ModelTensor& tensor : spec.tensors) readers.emplace_back(spec, tensor, *weights);
}

TensorType SourceModel::converter_type() const {
  for (const auto& tensor : weights->tensors()) {
    if (tensor->shape().size() < 2) continue;
    if (tensor->type() == TensorType::bf16 || tensor->type() == TensorType::f16) {
      return tensor->type();
    }
  }
  return TensorType::f16;
}

std::vector<PlanInput> SourceModel::plan_inputs(TensorType outtype) const {
  std::vector<PlanInput> inputs;
  for (std::size_t i = 0; i < spec.tensors.size(); ++i) {
    const ModelTensor& tensor = spec.tensors[i];
    const TensorType stored = is_gguf()         ? readers[i].source_type()
                              : tensor.keep_f32 ? TensorType::f32
                                                : outtype;
    inputs.push_back({tensor.name, tensor.shape, stored});
  }
  return inputs;
}

}  // namespace qwodel
