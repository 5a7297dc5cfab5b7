// Lowering a graph to MIL: what its operations share. Each concern has a file of its own: norms.cc,
// rope.cc, attention.cc, states.cc, masks.cc, weights.cc, elementwise.cc.
//
// A value of the graph is a tensor [1, queries, width], or [1, heads, queries, head_dim] where
// heads are worked on; the two forms are made from each other when they are asked for. Everything
// is half precision except what would overflow there (norms.cc).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "graph/graph_weights.h"
#include "targets/coreml/coreml_options.h"
#include "targets/coreml/head_order.h"
#include "targets/coreml/mil_builder.h"
#include "targets/coreml/weight_file.h"

namespace qwodel {

// A value of the graph in the forms that were asked for.
struct Activation {
  std::uint64_t width = 0;
  std::optional<MilValue> rows;             // [1, queries, width]
  std::map<std::uint64_t, MilValue> heads;  // by head_dim: [1, width / head_dim, queries, head_dim]
};

// Where the tokens of a call stand.
struct Sequence {
  std::int64_t queries = kFlexible;  // tokens of a call
  std::int64_t keys = kFlexible;     // with those before it
  MilValue past;                     // int32 [1]: tokens before the call
  MilValue end;                      // int32 [1]: past + queries
  // fp16 [1, 1, queries or 1, keys], added to scores; of stateful models and encoders.
  std::optional<MilValue> mask;
  std::optional<MilValue> mask_input;  // what it is made of
};

// Keys or values of all layers: fp16 [layers, 1, kv_heads, context, dim].
struct Cache {
  MilValue state;
  std::optional<MilValue> now;  // what was read of it last
};
struct Caches {
  Cache keys;
  Cache values;
  std::int32_t next_layer = 0;
};

class Lowering {
 public:
  // All must outlive it.
  Lowering(const Graph& graph, const GraphWeights& weights, const CoremlOptions& options,
           const std::vector<WeightScheme>& schemes);

  const Graph& graph;
  const GraphWeights& weights;
  const CoremlOptions& options;
  const std::vector<WeightScheme>& schemes;  // of each weight
  const HeadOrders orders;
  MilBuilder mil;
  WeightFile file;
  Sequence sequence;
  std::optional<Caches> caches;

  // [1, queries, width] and [1, heads, queries, head_dim] of a value.
  const MilValue& rows(Activation& value);
  const MilValue& heads(Activation& value, std::uint64_t head_dim);

  // A weight that is multiplied or looked up: [rows, columns], compressed as its scheme says.
  MilValue matrix(WeightId weight);
  // Fewer values in half precision, with these extents; `first_row` rows are skipped.
  MilValue vector(WeightId weight, const MilDims& dims, std::uint64_t first_row = 0);
  MilValue zeros(std::uint64_t count);
  MilValue halves(const std::string& name, const std::vector<std::uint16_t>& bits,
                  const MilDims& dims);
  MilValue integers(const std::string& name, const std::vector<std::int32_t>& values,
                    const MilDims& dims);

  // What was made before under this name.
  std::map<std::string, MilValue> made;

 private:
  MilValue compressed(const StoredWeight& stored, const std::string& name);
};

// The operations. Each gives the result for activations of the graph's inputs.
Activation lower_embedding(Lowering& lowering, const EmbeddingOp& op, const MilValue& ids);
Activation lower_positions(Lowering& lowering, const PositionEmbeddingOp& op, Activation& x);
Activation lower_segments(Lowering& lowering, const SegmentEmbeddingOp& op, Activation& x);
Activation lower_linear(Lowering& lowering, const LinearOp& op, Activation& x);
Activation lower_head_linear(Lowering& lowering, const HeadLinearOp& op, Activation& x);
Activation lower_norm(Lowering& lowering, const NormOp& op, Activation& x);
Activation lower_rope(Lowering& lowering, const RopeOp& op, bool halves, Activation& x);
Activation lower_attention(Lowering& lowering, const AttentionOp& op, Activation& q, Activation& k,
                           Activation& v);
Activation lower_activation(Lowering& lowering, const ActivationOp& op, Activation& x);
Activation lower_pair(Lowering& lowering, const char* type, Activation& a, Activation& b);
Activation lower_scale(Lowering& lowering, const ScaleOp& op, Activation& x);
Activation lower_softcap(Lowering& lowering, const SoftcapOp& op, Activation& x);
Activation lower_clamp(Lowering& lowering, const ClampOp& op, Activation& x);
Activation lower_slice(Lowering& lowering, const SliceOp& op, Activation& x);
Activation lower_concat(Lowering& lowering, const ConcatOp& op, Activation& a, Activation& b);

// What attention uses. The mask is added to scores; nothing when every key is seen.
std::optional<MilValue> attention_mask(Lowering& lowering, const AttentionOp& op);
struct KeysValues {
  MilValue keys;    // [1, kv_heads, keys, key_dim]
  MilValue values;  // [1, kv_heads, keys, value_dim]
};
// Writes the call's keys and values into the caches; gives them with those before.
KeysValues update_caches(Lowering& lowering, const KeysValues& fresh);
// Makes the states that all attention operations of the graph fit in. Throws
// FormatNotSupportedError when their shapes differ.
Caches make_caches(Lowering& lowering);

}  // namespace qwodel
