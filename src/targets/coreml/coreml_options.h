// What a user can ask of a Core ML package beside the encoding of its weights.
#pragma once

#include <cstdint>
#include <vector>

#include "targets/coreml/mil_builder.h"

namespace qwodel {

// What an encoder gives: every token's vector, or one for the text.
enum class Pooling : std::uint8_t { none, mean, first };

struct CoremlOptions {
  MilVersion version;    // the oldest system that runs the package
  bool stateful = true;  // keys and values stay in the model between calls
  std::uint64_t context_length = 0;
  // Of a stateless package: tokens of a call. None: any number up to the context length; one: just
  // that; several: one of these.
  std::vector<std::uint64_t> sequence_lengths;
  bool last_logits_only = false;  // logits of the call's last token
  Pooling pooling = Pooling::none;
};

}  // namespace qwodel
