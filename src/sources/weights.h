// The weights of a checkpoint as float matrices, however they are stored.
//
// A stored group (qweight + qzeros + scales, or weight + weight_scale_inv) becomes one logical
// tensor with the name and shape it had before it was quantized. Reads decode exactly what the
// format means.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/tensor_type.h"
#include "formats/checkpoint.h"

namespace qwodel {

// One logical tensor. Immutable; reads from several threads are safe.
class WeightTensor {
 public:
  virtual ~WeightTensor() = default;

  const std::string& name() const { return name_; }
  const std::vector<std::uint64_t>& shape() const { return shape_; }  // outermost first

  // How the values are stored: a float type for plain tensors, the block type for GGUF ones, and
  // the type decoding yields (f32, f16, bf16) for groups.
  TensorType type() const { return type_; }

  // True when values were rounded by an earlier quantization (so quantizing again loses twice).
  bool is_quantized() const { return quantized_; }

  // Decodes out.size() values from row-major position `first`.
  virtual void read(std::uint64_t first, std::span<float> out) const = 0;

  // The stored bytes in type(), where they are stored as such (plain and GGUF tensors): copied
  // without decoding when the output type is the same. Empty otherwise.
  virtual std::span<const std::byte> raw() const { return {}; }

  // The mapped bytes behind values [first, first + count), for read-ahead and dropping. May be
  // empty.
  virtual std::vector<std::span<const std::byte>> storage(std::uint64_t first,
                                                          std::uint64_t count) const = 0;

 protected:
  WeightTensor(std::string name, std::vector<std::uint64_t> shape, TensorType type, bool quantized)
      : name_(std::move(name)), shape_(std::move(shape)), type_(type), quantized_(quantized) {}

 private:
  std::string name_;
  std::vector<std::uint64_t> shape_;
  TensorType type_;
  bool quantized_;
};

// All logical tensors of a checkpoint: in the checkpoint's order, except that tensors rebuilt from
// parts of other names (GPTQ, AWQ, pack-quantized) come last, where the reference converter puts
// them. The checkpoint must outlive them.
class Weights {
 public:
  // Reads quantization_config of config.json. Throws FormatNotSupportedError for a quantization
  // method it cannot decode, ValidationError when parts of a group are missing or do not fit.
  explicit Weights(const Checkpoint& checkpoint);

  // As they are stored.
  const std::vector<std::unique_ptr<WeightTensor>>& tensors() const { return tensors_; }

  // As they are read; null for one that is missing.
  const WeightTensor* find(std::string_view name) const;

  // From now on find() gives this matrix, which is stored as [in_features, out_features], as
  // [out_features, in_features]. REQUIRES: a matrix of that name.
  void transpose(std::string_view name);

 private:
  std::vector<std::unique_ptr<WeightTensor>> tensors_;
  std::vector<std::unique_ptr<WeightTensor>> transposed_;
  std::unordered_map<std::string_view, const WeightTensor*> by_name_;
};

}  // namespace qwodel
