// What a decoder computes: a few coarse operations on rows of activations, cut into stages.
//
// models/ builds a Graph from a ModelSpec; the executor runs it, passes read its edges, the Core ML
// target lowers it. Nothing that uses a Graph asks for an architecture. Weights are the tensors of
// the ModelSpec in GGUF's names and layouts (so a checkpoint and a GGUF of one model have the same
// graph): rotary rows lie as GGUF has them, (1 + w) norms are plain norms.
//
// A value is a matrix of activations: one row per token, or one row per token and chosen expert. A
// stage has one input (the hidden state; token ids for the first stage) and one output. Values are
// assigned once (SSA), operations stand in an order in which they can run.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace qwodel {

using ValueId = std::uint32_t;   // index into Stage::values
using WeightId = std::uint32_t;  // index into Graph::weights
inline constexpr std::uint32_t kNoId = 0xffffffff;

struct GraphWeight {
  std::string name;                  // GGUF's: "blk.0.attn_q.weight"
  std::uint32_t tensor = 0;          // index into ModelSpec::tensors
  std::vector<std::uint64_t> shape;  // outermost first: [out_features, in_features]
};

// Rows of the table by token id: [tokens, hidden_size].
struct EmbeddingOp {
  WeightId weight;  // [vocab_size, hidden_size]
};

// input + row of the table by position in the sequence, plus `offset` (learned positions).
struct PositionEmbeddingOp {
  WeightId weight;  // [positions, hidden_size]
  std::uint64_t offset = 0;
};

// input + row 0 of the table by segment: every token is of the first segment.
struct SegmentEmbeddingOp {
  WeightId weight;  // [segments, hidden_size]
};

// x W^T + b.
struct LinearOp {
  WeightId weight;        // [out_features, in_features]
  WeightId bias = kNoId;  // [out_features]
};

// One linear per head: columns [h * in, (h + 1) * in) of the input give columns [h * out, ...) of
// the output (the absorbed projections of multi-head latent attention).
struct HeadLinearOp {
  WeightId weight;  // [heads, out, in]
};

enum class NormKind : std::uint8_t { rms, layer };

// Normalizes each group of `group` neighbouring columns (the whole row when 0) and multiplies by
// weight, adds bias. The weight has as many values as the group (shared by groups) or as the row.
struct NormOp {
  NormKind kind = NormKind::rms;
  WeightId weight = kNoId;
  WeightId bias = kNoId;
  float epsilon = 0;
  std::uint64_t group = 0;
};

enum class RopeLayout : std::uint8_t {
  interleaved,  // pairs (2i, 2i + 1)
  halves,       // pairs (i, i + n / 2), n = rotated columns of a head
};

// Rotary position embedding of columns [first, first + 2 * frequencies) of every head; the others
// stay. Pair i turns by position * frequency[i]; cos and sin are multiplied by `magnitude` (YaRN's
// and LongRoPE's attention factor).
struct RopeOp {
  std::uint64_t head_dim = 0;
  std::uint64_t first = 0;
  RopeLayout layout = RopeLayout::halves;
  std::vector<float> frequencies;
  float magnitude = 1;
  // LongRoPE: used instead when a sequence is longer than long_context; empty: never.
  std::vector<float> long_frequencies;
  float long_magnitude = 1;
  std::uint64_t long_context = 0;
};

// Softmax attention. Inputs: queries [tokens, heads * key_dim], keys [tokens, kv_heads * key_dim],
// values [tokens, kv_heads * value_dim] of one sequence each. Output [tokens, heads * value_dim].
struct AttentionOp {
  std::uint64_t heads = 0;
  std::uint64_t kv_heads = 0;
  std::uint64_t key_dim = 0;
  std::uint64_t value_dim = 0;
  float scale = 1;
  bool causal = true;
  std::uint64_t window = 0;  // a query sees the last `window` positions, itself included; 0: all
  float softcap = 0;         // cap * tanh(score / cap) before the mask; 0: none
  std::vector<float> alibi_slopes;  // one per head: score -= slope * (query - key); empty: none
};

enum class ActivationKind : std::uint8_t { silu, gelu_tanh, gelu_erf, relu, sigmoid, tanh };

struct ActivationOp {
  ActivationKind kind = ActivationKind::silu;
};

struct AddOp {};  // elementwise; a second input of one column is broadcast
struct MulOp {};  // likewise

struct ScaleOp {
  float factor = 1;
};

// cap * tanh(x / cap).
struct SoftcapOp {
  float cap = 0;
};

// min(max(x, -limit), limit): clip_qkv.
struct ClampOp {
  float limit = 0;
};

// Columns [first, first + count) of each of `groups` equal parts of the row.
struct SliceOp {
  std::uint64_t groups = 1;
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

// Each of `groups` equal parts of the first input followed by that of the second.
struct ConcatOp {
  std::uint64_t groups = 1;
};

enum class RouterScoring : std::uint8_t {
  softmax,        // over all experts, then the best are taken
  softmax_top_k,  // the best by logit, softmax over these
  sigmoid,        // each expert by itself
};

// Chooses top_k experts per token from router logits [tokens, experts]. The output is a routing:
// per token the experts and their weights.
struct RouteOp {
  std::uint64_t experts = 0;
  std::uint64_t top_k = 0;
  RouterScoring scoring = RouterScoring::softmax;
  bool normalize = false;           // weights of the chosen are divided by their sum
  float scale = 1;                  // then multiplied by this
  WeightId selection_bias = kNoId;  // added to scores for choosing only (DeepSeek-V3)
  std::uint64_t groups = 1;         // experts in groups, of which the best top_groups are searched
  std::uint64_t top_groups = 1;
  bool groups_by_top_two = false;  // a group's score: sum of its two best (V3) or its best (V2)
};

// Inputs: x and a routing. x has a row per token, or a row per token and expert; the output has a
// row per token and expert, x W[e]^T + b[e].
struct ExpertLinearOp {
  WeightId weight;        // [experts, out_features, in_features]
  WeightId bias = kNoId;  // [experts, out_features]
};

// Inputs: routed rows and the routing. Output: per token the weighted sum of its experts' rows.
struct CombineOp {};

using OpKind =
    std::variant<EmbeddingOp, PositionEmbeddingOp, SegmentEmbeddingOp, LinearOp, HeadLinearOp,
                 NormOp, RopeOp, AttentionOp, ActivationOp, AddOp, MulOp, ScaleOp, SoftcapOp,
                 ClampOp, SliceOp, ConcatOp, RouteOp, ExpertLinearOp, CombineOp>;

struct Op {
  OpKind kind;
  std::vector<ValueId> inputs;
  ValueId output = kNoId;
};

enum class RowKind : std::uint8_t {
  tokens,   // a row per token
  routed,   // a row per token and chosen expert
  routing,  // what RouteOp gives; no matrix
};

struct Value {
  std::uint64_t width = 0;  // columns
  RowKind rows = RowKind::tokens;
};

struct Stage {
  std::string name;  // "embedding", "layer 0", ..., "head"
  std::vector<Value> values;
  std::vector<Op> ops;
  ValueId input = kNoId;  // kNoId for the first stage, which reads token ids
  ValueId output = kNoId;
};

// The first stage embeds, the last gives logits [tokens, vocab_size]: in it, one LinearOp makes the
// vocabulary's columns, and only elementwise operations follow. The last stage of an encoder is a
// layer like the others, and its output what the encoder is for.
struct Graph {
  std::uint64_t hidden_size = 0;
  std::uint64_t vocab_size = 0;
  std::uint64_t context_length = 0;  // positions the model was made for; 0: unknown
  bool is_encoder = false;           // no logits
  std::vector<GraphWeight> weights;
  std::vector<Stage> stages;
};

// Throws ValidationError (a defect of a model's description, or a file that contradicts itself)
// unless all ids are in range, values are assigned once and before use, and widths, row kinds and
// weight shapes fit every operation. `model` names it in errors.
void validate_graph(const Graph& graph, const std::string& model);

}  // namespace qwodel
