// The values of a graph's weights, however they are stored.
#pragma once

#include <cstdint>
#include <span>

#include "graph/graph.h"

namespace qwodel {

// Thread-safe. Implemented over a checkpoint in sources/; methods replace weights by wrapping it.
class GraphWeights {
 public:
  virtual ~GraphWeights() = default;

  // Decodes out.size() values of a weight from row-major position `first`.
  virtual void read(WeightId weight, std::uint64_t first, std::span<float> out) const = 0;

  // The weight is needed soon (read ahead), or not again in this pass (drop its pages).
  virtual void will_need(WeightId weight) const = 0;
  virtual void done_with(WeightId weight) const = 0;
};

}  // namespace qwodel
