// What distinguishes the decoders that one builder covers: one row per GGUF architecture.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "graph/graph.h"

namespace qwodel {

class GraphBuilder;
struct DecoderSettings;

enum class Positions : std::uint8_t { rotary, learned, alibi };

// Whether attention and feed-forward read the same hidden state and are added together.
enum class Residual : std::uint8_t {
  sequential,
  parallel,
  // As use_parallel_residual says.
  either,
  // Parallel when there is no norm of the feed-forward (StableLM 2 12B).
  parallel_without_norm,
};

// Which layers a sliding window applies to: every layer whose index modulo `period` is below
// `sliding`.
struct WindowPattern {
  std::uint64_t period = 1;
  std::uint64_t sliding = 1;
};

struct DecoderTraits {
  std::string_view architecture;
  NormKind norm = NormKind::rms;
  bool norms_have_weights = true;
  ActivationKind activation = ActivationKind::silu;
  Positions positions = Positions::rotary;
  RopeLayout rope = RopeLayout::interleaved;
  Residual residual = Residual::sequential;
  bool scales_embedding = false;  // by sqrt(hidden_size)
  bool divides_logits = true;     // logit_scale divides; else it multiplies
  bool normalizes_experts = true;
  WindowPattern window = {};
  double sliding_rope_base = 0;          // of layers with a window; 0: that of all
  std::uint64_t rotary_skips_every = 0;  // each n-th layer has no positions; 0: none
  // Models of this many layers scale scores by hidden_size / heads (Gemma's 27B); 0: none.
  std::uint64_t width_scaled_layers = 0;
  // Attention of its own: from the normalized input to what is added. Or nullptr.
  ValueId (*attention)(GraphBuilder&, const DecoderSettings&, std::uint64_t layer,
                       ValueId x) = nullptr;
};

std::span<const DecoderTraits> decoder_traits();

// Or nullptr.
const DecoderTraits* find_decoder_traits(std::string_view architecture);

}  // namespace qwodel
