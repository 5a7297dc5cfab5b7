// The hyperparameters of a decoder as its graph needs them, read from ARCH.* and checked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "models/graph_builder.h"
#include "models/graph_traits.h"

namespace qwodel {

// "blk.7."
std::string block_name(std::uint64_t layer);

struct DecoderSettings {
  const DecoderTraits* traits = nullptr;
  std::uint64_t layers = 0;
  std::uint64_t hidden_size = 0;
  std::uint64_t vocab_size = 0;
  std::uint64_t context_length = 0;
  float norm_epsilon = 0;
  ActivationKind activation = ActivationKind::silu;
  bool parallel = false;  // before looking at a layer's tensors

  std::uint64_t heads = 0;
  std::uint64_t kv_heads = 0;
  std::uint64_t key_dim = 0;    // of a head
  std::uint64_t value_dim = 0;  // of a head
  bool causal = true;
  float attention_scale = 1;
  float attention_softcap = 0;
  float qkv_limit = 0;  // clip_qkv; 0: none
  std::vector<float> alibi_slopes;

  // Latent attention: lengths of a head before keys and values are absorbed.
  std::uint64_t full_key_dim = 0;
  std::uint64_t full_value_dim = 0;

  std::uint64_t rotary_dim = 0;
  RopeOp rope;                         // of layers without a window
  RopeOp sliding_rope;                 // of layers with one
  std::vector<std::uint64_t> windows;  // per layer; 0: none
  std::vector<bool> rotary_layers;     // per layer

  float embedding_scale = 1;
  float residual_scale = 1;
  float logit_factor = 1;
  float logit_softcap = 0;

  std::uint64_t experts = 0;
  RouteOp route;
};

// Throws ValidationError for metadata that are missing, out of range or contradict each other,
// FormatNotSupportedError for kinds that no graph has. Lists have one entry per layer only when the
// tensors have that many layers.
DecoderSettings decoder_settings(const GraphBuilder& graph, const DecoderTraits& traits);

}  // namespace qwodel
