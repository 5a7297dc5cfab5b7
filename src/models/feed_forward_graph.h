// Feed-forward parts of a layer: dense, gated, or experts.
#pragma once

#include <cstdint>

#include "models/decoder_settings.h"
#include "models/graph_builder.h"

namespace qwodel {

// From the (normalized) input to what is added to the residual. A layer with a router has experts;
// a gate is there when its tensor is, by itself or as the first half of ffn_up.
ValueId add_feed_forward(GraphBuilder& graph, const DecoderSettings& model, std::uint64_t layer,
                         ValueId x);

}  // namespace qwodel
