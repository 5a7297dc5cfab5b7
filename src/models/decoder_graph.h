// The graph of a decoder-only transformer, by the traits of its family.
#pragma once

#include "models/decoder_settings.h"
#include "models/graph_builder.h"

namespace qwodel {

// Adds all stages.
void add_decoder(GraphBuilder& graph, const DecoderSettings& model);

}  // namespace qwodel
