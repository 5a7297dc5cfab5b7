#include "models/gguf_model.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "qwodel/error.h"

namespace qwodel {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is little-endian");

// Rotary factors are part of the graph, not read by an operation.
bool is_rope_factors(const TensorInfo& tensor) {
  return tensor.name.starts_with("rope_") && tensor.type == TensorType::f32 &&
         tensor.shape.size() == 1;
}

}  // namespace

ModelSpec describe_gguf(const Checkpoint& checkpoint) {
  ModelSpec spec;
  if (checkpoint.gguf_metadata()) spec.metadata = *checkpoint.gguf_metadata();
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
    if (!is_rope_factors(tensor)) continue;
    out.generated.resize(static_cast<std::size_t>(tensor.shape.front()));
    std::memcpy(out.generated.data(), tensor.bytes.data(),
                std::min(tensor.bytes.size(), out.generated.size() * sizeof(float)));
  }
  return spec;
}

}  // namespace qwodel
