// Reads the values of a ModelTensor: its strided views of the checkpoint's tensors, put together.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "models/model_spec.h"
#include "sources/weights.h"

namespace qwodel {

// One tensor of the model, readable in any row-major range. Immutable; reads from several threads
// are safe. The spec and the weights must outlive it.
class ModelTensorReader {
 public:
  // Throws ValidationError when a view names a missing tensor or leaves its bounds, or when the
  // parts do not make up the tensor's shape.
  ModelTensorReader(const ModelSpec& spec, const ModelTensor& tensor, const Weights& weights);

  // The same with stored tensors from elsewhere; `find` gives null for one that is missing.
  using Find = std::function<const WeightTensor*(std::string_view name)>;
  ModelTensorReader(const ModelSpec& spec, const ModelTensor& tensor, const Find& find);

  // Values [first, first + out.size()) of the tensor, row-major, with the elementwise operation
  // done.
  void read(std::uint64_t first, std::span<float> out) const;

  // Mapped bytes that read() of this range touches, for read-ahead and dropping. Empty for parts
  // that are read across their rows (transposed): those are touched by every range.
  std::vector<std::span<const std::byte>> storage(std::uint64_t first, std::uint64_t count) const;

  // All mapped bytes behind the tensor.
  std::vector<std::span<const std::byte>> whole_storage() const;

  // The stored tensor itself when the model's tensor is exactly it (no view, no operation), else
  // null.
  const WeightTensor* same_as_stored() const;

  // How its values are stored; f32 for generated ones.
  TensorType source_type() const;
  bool was_quantized() const;

  struct Part {
    const WeightTensor* source = nullptr;
    std::uint64_t first = 0;  // position of the part's first value in the tensor
    std::uint64_t count = 0;
    std::uint64_t offset = 0;          // in the source, elements
    std::vector<std::uint64_t> shape;  // neighbouring axes that are contiguous are merged
    std::vector<std::uint64_t> strides;
  };

 private:
  const ModelTensor* tensor_;
  std::vector<Part> parts_;
};

}  // namespace qwodel
