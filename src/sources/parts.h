// The stored tensors of a checkpoint on their way to becoming logical ones.
//
// A scheme takes the parts of each group by name and puts one tensor in their place; what no scheme
// takes is a tensor by itself.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sources/weights.h"

namespace qwodel {

class Parts {
 public:
  explicit Parts(const Checkpoint& checkpoint);

  // The names without `suffix` of all stored tensors that end in it, in order.
  std::vector<std::string> bases_of(std::string_view suffix) const;

  // The part `base` + `suffix`; it is no tensor by itself any more. take() returns null when there
  // is none, require() throws ValidationError.
  const TensorInfo* take(const std::string& base, std::string_view suffix);
  const TensorInfo& require(const std::string& base, std::string_view suffix);

  // Forgets all tensors that end in `suffix`: scales of activations and the like.
  void drop(std::string_view suffix);

  // Puts a decoded tensor where `stored` is, or behind all others.
  void replace(const TensorInfo& stored, std::unique_ptr<WeightTensor> tensor);
  void append(std::unique_ptr<WeightTensor> tensor);

  // All tensors, plain ones for what is left. Throws ValidationError when two have one name.
  std::vector<std::unique_ptr<WeightTensor>> finish();

 private:
  struct Slot {
    bool taken = false;
    std::unique_ptr<WeightTensor> tensor;
  };
  Slot& slot_of(const TensorInfo& stored);

  const Checkpoint& checkpoint_;
  std::vector<Slot> slots_;  // one per stored tensor
  std::vector<std::unique_ptr<WeightTensor>> appended_;
};

// A way to store quantized weights.
struct SourceScheme {
  std::string_view method;  // quant_method in quantization_config
  void (*collect)(const Json& quantization, Parts& parts);
};

// gptq.cc, awq.cc, fp8_blocks.cc, compressed_tensors.cc
void collect_gptq(const Json& quantization, Parts& parts);
void collect_awq(const Json& quantization, Parts& parts);
void collect_fp8(const Json& quantization, Parts& parts);
void collect_compressed_tensors(const Json& quantization, Parts& parts);

// Throws ValidationError when a part has not this shape or none of these types.
void expect_part(const TensorInfo& part, const std::vector<std::uint64_t>& shape,
                 std::initializer_list<TensorType> types);

}  // namespace qwodel
