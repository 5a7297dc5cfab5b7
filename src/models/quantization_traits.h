// What the choice of tensor types needs to know about a model, in numbers instead of names.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "formats/gguf_value.h"

namespace qwodel {

struct QuantizationTraits {
  std::uint32_t layers = 0;           // block_count, with next-token-prediction layers
  std::uint32_t grouped_queries = 0;  // query heads per key/value head in layer 0; 0 without either
  std::uint32_t experts = 0;
  bool plain_ffn_down = false;      // Falcon: no extra bits for attention output and early ffn_down
  bool shared_value_heads = false;  // the 70B-sized models whose few value heads deserve more bits
  bool tied_embeddings = false;     // no output.weight: token_embd.weight is also the output
};

// From the metadata of a GGUF (of any architecture) and the names of its tensors.
QuantizationTraits quantization_traits(const GgufMetadata& metadata,
                                       std::span<const std::string> tensor_names);

}  // namespace qwodel
