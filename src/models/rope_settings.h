// Rotary frequencies of a model: the base, and how they are stretched for long contexts.
#pragma once

#include "graph/graph.h"
#include "models/arch_metadata.h"
#include "models/graph_builder.h"
#include "models/graph_traits.h"

namespace qwodel {

// The operation for heads of `head_dim` columns of which `rotary_dim` turn, for layers without and
// with a sliding window. Scalings: linear, YaRN (Peng et al. 2023), llama3 (factors in
// rope_freqs.weight), LongRoPE (Ding et al. 2024; rope_factors_long/short.weight). Throws
// ValidationError, FormatNotSupportedError for another scaling. REQUIRES: rotary_dim is even and
// rotary_dim <= head_dim, which is at most a tensor's extent.
struct RopePair {
  RopeOp full;
  RopeOp sliding;
};
RopePair rope_settings(const GraphBuilder& graph, const DecoderTraits& traits,
                       std::uint64_t head_dim, std::uint64_t rotary_dim);

// YaRN's attention temperature: 1 + 0.1 * multiplier * ln(factor).
float yarn_magnitude(float factor, float multiplier);

}  // namespace qwodel
