// Which tensors of a checkpoint are linears that a Hugging Face artifact stores quantized.
//
// Found from the graph: every linear of a decoder layer, except routers and gates of one row; the
// embedding, the head and everything else stay as they are.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "codecs/group_int.h"
#include "graph/graph.h"
#include "models/model_spec.h"

namespace qwodel {

// A linear as the checkpoint names it.
struct PlannedLinear {
  std::string module;        // "model.layers.0.self_attn.q_proj": its tensor is MODULE.weight
  std::uint32_t source = 0;  // index into ModelSpec::sources
  WeightId weight = kNoId;   // of the graph: the first that is made of it
  std::size_t part = 0;      // of that weight's tensor: which expert
  std::uint64_t out_features = 0;
  std::uint64_t in_features = 0;
  GroupIntScheme scheme = {};  // how it is stored
  std::string reason = {};     // why in that way
};

struct LinearPlan {
  std::vector<PlannedLinear> linears;    // in the order the graph reads them
  std::vector<std::string> unquantized;  // modules of linears that keep their type
  std::vector<std::string> outside;      // modules with weights that the graph does not know, the
                                         // outermost each and without "model.": "vision_tower"
};

// All linears get `scheme`. `tensors` are those the spec was made from. Throws
// FormatNotSupportedError when a layer's linear is not a matrix [out_features, in_features] named
// MODULE.weight (experts in one tensor of three axes), or when there is none at all.
LinearPlan plan_linears(const ModelSpec& spec, const Graph& graph,
                        const std::vector<SourceTensor>& tensors, const GroupIntScheme& scheme);

// The linears of all layers that are stored as [out_features, in_features], whatever the target
// makes of them; without a scheme. May be empty.
LinearPlan find_linears(const ModelSpec& spec, const Graph& graph,
                        const std::vector<SourceTensor>& tensors);

}  // namespace qwodel
