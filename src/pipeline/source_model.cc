#include "pipeline/source_model.h"

#include "models/gguf_model.h"

namespace qwodel {
namespace {

ModelSpec describe(const Checkpoint& checkpoint, const Weights& weights,
                   const ModelOptions& options) {
  if (checkpoint.gguf_metadata()) return describe_gguf(checkpoint);
  return describe_model(checkpoint.directory(), checkpoint.config(), source_tensors(weights),
                        options);
}

}  // namespace

std::vector<SourceTensor> source_tensors(const Weights& weights) {
  std::vector<SourceTensor> tensors;
  for (const auto& tensor : weights.tensors()) tensors.push_back({tensor->name(), tensor->shape()});
  return tensors;
}

SourceModel::SourceModel(const std::filesystem::path& path, const ModelOptions& options)
    : checkpoint(open_checkpoint(path)),
      weights(std::make_unique<Weights>(*checkpoint)),
      spec(describe(*checkpoint, *weights, options)) {
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
