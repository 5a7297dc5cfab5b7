#include "models/gguf_model.h"

#include "qwodel/error.h"

namespace qwodel {

ModelSpec describe_gguf(const Checkpoint& checkpoint) {
  ModelSpec spec;
  spec.metadata = checkpoint.gguf_metadata().value();
  const auto architecture = spec.metadata.find_string("general.architecture");
  if (!architecture) {
    throw ValidationError({.where = checkpoint.directory().string(),
                           .found = "a GGUF without general.architecture",
                           .expected = "a model",
                           .remedy = ""});
  }
  spec.architecture = *architecture;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    const auto source = static_cast<std::uint32_t>(spec.sources.size());
    spec.sources.push_back(tensor.name);
    ModelTensor& out = spec.tensors.emplace_back();
    out.name = tensor.name;
    out.shape = tensor.shape;
    out.parts.push_back(whole_tensor(source, tensor.shape));
  }
  return spec;
}

}  // namespace qwodel
