// Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434), with the key and value projections
// absorbed as GGUF has them: queries and values meet in the latent space, one key-value head.
#pragma once

#include "models/decoder_settings.h"
#include "models/graph_builder.h"

namespace qwodel {

// From the normalized input of a layer to what is added to the residual.
ValueId add_latent_attention(GraphBuilder& graph, const DecoderSettings& model, std::uint64_t layer,
                             ValueId x);

}  // namespace qwodel
