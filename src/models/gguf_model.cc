#include "models/gguf_model.h"

#include <bit>
#include <cstring>

#include "qwodel/error.h"

namespace qwodel {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is little-endian");

// Rotary factors are in the graph's operations: their values must be in the description.
bool is_rope_factors(const TensorInfo& tensor) {
  return tensor.name.starts_with("rope_") && tensor.type == TensorType::f32 &&
         tensor.shape.size() == 1;
}

std::vector<float> floats_of(const TensorInfo& tensor) {
  std::vector<float> values(tensor.bytes.size() / sizeof(float));
  std::memcpy(values.data(), tensor.bytes.data(), values.size() * sizeof(float));
  return values;
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
    ModelTensor& out = spec.tensors.emplace_back();
    out.name = tensor.name;
    out.shape = tensor.shape;
    if (is_rope_factors(tensor)) {
      out.generated = floats_of(tensor);
      continue;
    }
    const auto source = static_cast<std::uint32_t>(spec.sources.size());
    spec.sources.push_back(tensor.name);
    out.parts.push_back(whole_tensor(source, tensor.shape));
  }
  return spec;
}

}  // namespace qwodel
