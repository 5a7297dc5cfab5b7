// The graph of a BERT encoder: norms after each residual sum, attention in both directions.
#pragma once

#include <string_view>

#include "models/decoder_settings.h"
#include "models/graph_builder.h"

namespace qwodel {

// Or nullptr.
const DecoderTraits* find_encoder_traits(std::string_view architecture);

// Adds all stages; the output of the last layer is the encoder's. Pooling and classifiers are not
// part of it.
void add_encoder(GraphBuilder& graph, const DecoderSettings& model);

}  // namespace qwodel
