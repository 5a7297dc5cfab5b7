#include "sources/weights.h"

#include "sources/gguf_blocks.h"
#include "sources/plain.h"

namespace qwodel {

Weights::Weights(const Checkpoint& checkpoint) {
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    tensors_.push_back(info(tensor.type).is_quantized() ? make_block_tensor(tensor)
                                                        : make_plain_tensor(tensor));
  }
  for (const auto& tensor : tensors_) by_name_.emplace(tensor->name(), tensor.get());
}

const WeightTensor* Weights::find(std::string_view name) const {
  const auto entry = by_name_.find(name);
  return entry == by_name_.end() ? nullptr : entry->second;
}

}  // namespace qwodel
