// DeepSeek: V1 (Llama with experts) and V2/V3 (multi-head latent attention).
#include <fmt/format.h>

#include <charconv>
#include <string>
#include <unordered_set>

#include "models/families.h"
#include "models/metadata.h"
#include "models/transforms.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

// The latent key-value projection holds, head by head, the rows that make the key's part without
// position and those that make the value. The runtime absorbs the former into the query, so it
// wants them transposed: attn_k_b (heads, latent, key) and attn_v_b (heads, value, latent).
void split_kv_b(const ModelContext& model, const RuleMatch& match, std::vector<ModelTensor>& out) {
  const ModelConfig& config = model.config.values;
  const std::uint64_t heads = config.heads();
  const std::uint64_t keys = config.size({"qk_nope_head_dim"});
  const std::uint64_t values = config.size({"v_head_dim"});
  const auto& shape = match.tensor.shape;
  // Three numbers below 2^32: compared by division, so that nothing overflows.
  if (shape.size() != 2 || shape[0] % heads != 0 || shape[0] / heads != keys + values) {
    throw_bad_shape(match, "a matrix with qk_nope_head_dim + v_head_dim rows for each head");
  }
  const std::uint64_t latent = shape[1];
  const std::uint64_t head = (keys + values) * latent;
  out.push_back(tensor_of(match.name, {.source = match.source,
                                       .offset = 0,
                                       .shape = {heads, latent, keys},
                                       .strides = {head, 1, latent}}));
  std::string name = match.name;
  name.replace(name.find("attn_k_b"), 8, "attn_v_b");
  out.push_back(tensor_of(std::move(name), {.source = match.source,
                                            .offset = keys * latent,
                                            .shape = {heads, values, latent},
                                            .strides = {head, latent, 1}}));
}

// Leading layers are dense, the others have experts.
constexpr TensorRule kV1Tensors[] = {
    {"embed_tokens", "token_embd"},
    {"norm", "output_norm"},
    {"lm_head", "output", copy_tensor, Need::optional},
    {"layers.{L}.input_layernorm", "blk.{L}.attn_norm"},
    {"layers.{L}.self_attn.q_proj", "blk.{L}.attn_q", rotary_q},
    {"layers.{L}.self_attn.k_proj", "blk.{L}.attn_k", rotary_k},
    {"layers.{L}.self_attn.v_proj", "blk.{L}.attn_v"},
    {"layers.{L}.self_attn.o_proj", "blk.{L}.attn_output"},
    {"layers.{L}.post_attention_layernorm", "blk.{L}.ffn_norm"},
    {"layers.{L}.mlp.gate_proj", "blk.{L}.ffn_gate", copy_tensor, Need::optional},
    {"layers.{L}.mlp.up_proj", "blk.{L}.ffn_up", copy_tensor, Need::optional},
    {"layers.{L}.mlp.down_proj", "blk.{L}.ffn_down", copy_tensor, Need::optional},
    {"layers.{L}.mlp.gate", "blk.{L}.ffn_gate_inp", copy_tensor, Need::optional},
    {"layers.{L}.mlp.experts.{E}.down_proj", "blk.{L}.ffn_down_exps", copy_tensor, Need::optional,
     Stack::experts},
    {"layers.{L}.mlp.experts.{E}.gate_proj", "blk.{L}.ffn_gate_exps", copy_tensor, Need::optional,
     Stack::experts},
    {"layers.{L}.mlp.experts.{E}.up_proj", "blk.{L}.ffn_up_exps", copy_tensor, Need::optional,
     Stack::experts},
    {"layers.{L}.mlp.shared_experts.gate_proj", "blk.{L}.ffn_gate_shexp", copy_tensor,
     Need::optional},
    {"layers.{L}.mlp.shared_experts.up_proj", "blk.{L}.ffn_up_shexp", copy_tensor, Need::optional},
    {"layers.{L}.mlp.shared_experts.down_proj", "blk.{L}.ffn_down_shexp", copy_tensor,
     Need::optional},
};

// The query projection is one matrix (Lite) or two with a norm between them.
constexpr TensorRule kV2Tensors[] = {
    {"embed_tokens", "token_embd"},
    {"norm", "output_norm"},
    {"lm_head", "output", copy_tensor, Need::optional},
    {"layers.{L}.input_layernorm", "blk.{L}.attn_norm"},
    {"layers.{L}.self_attn.q_proj", "blk.{L}.attn_q", copy_tensor, Need::optional},
    {"layers.{L}.self_attn.q_a_proj", "blk.{L}.attn_q_a", copy_tensor, Need::optional},
    {"layers.{L}.self_attn.q_a_layernorm", "blk.{L}.attn_q_a_norm", copy_tensor, Need::optional},
    {"layers.{L}.self_attn.q_b_proj", "blk.{L}.attn_q_b", copy_tensor, Need::optional},
    {"layers.{L}.self_attn.kv_a_proj_with_mqa", "blk.{L}.attn_kv_a_mqa"},
    {"layers.{L}.self_attn.kv_a_layernorm", "blk.{L}.attn_kv_a_norm"},
    {"layers.{L}.self_attn.kv_b_proj", "blk.{L}.attn_k_b", split_kv_b},
    {"layers.{L}.self_attn.o_proj", "blk.{L}.attn_output"},
    {"layers.{L}.post_attention_layernorm", "blk.{L}.ffn_norm"},
    {"layers.{L}.mlp.gate_proj", "blk.{L}.ffn_gate", copy_tensor, Need::optional},
    {"layers.{L}.mlp.up_proj", "blk.{L}.ffn_up", copy_tensor, Need::optional},
    {"layers.{L}.mlp.down_proj", "blk.{L}.ffn_down", copy_tensor, Need::optional},
    {"layers.{L}.mlp.gate", "blk.{L}.ffn_gate_inp", copy_tensor, Need::optional},
    {"layers.{L}.mlp.gate.e_score_correction", "blk.{L}.exp_probs_b", copy_tensor, Need::optional},
    {"layers.{L}.mlp.experts.{E}.down_proj", "blk.{L}.ffn_down_exps", copy_tensor, Need::optional,
     Stack::experts},
    {"layers.{L}.mlp.experts.{E}.gate_proj", "blk.{L}.ffn_gate_exps", copy_tensor, Need::optional,
     Stack::experts},
    {"layers.{L}.mlp.experts.{E}.up_proj", "blk.{L}.ffn_up_exps", copy_tensor, Need::optional,
     Stack::experts},
    {"layers.{L}.mlp.shared_experts.gate_proj", "blk.{L}.ffn_gate_shexp", copy_tensor,
     Need::optional},
    {"layers.{L}.mlp.shared_experts.up_proj", "blk.{L}.ffn_up_shexp", copy_tensor, Need::optional},
    {"layers.{L}.mlp.shared_experts.down_proj", "blk.{L}.ffn_down_shexp", copy_tensor,
     Need::optional},
};

constexpr VocabularyKind kV1Vocabulary[] = {VocabularyKind::sentencepiece,
                                            VocabularyKind::byte_level_bpe};
constexpr VocabularyKind kV2Vocabulary[] = {VocabularyKind::byte_level_bpe};

constexpr ConfigDefaults kV2Defaults[] = {
    {.model_type = "deepseek_v2",
     .values = R"({"vocab_size": 102400, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
                   "first_k_dense_replace": 0, "kv_lora_rank": 512, "q_lora_rank": 1536,
                   "n_routed_experts": 64, "n_shared_experts": 2, "qk_nope_head_dim": 128,
                   "qk_rope_head_dim": 64, "v_head_dim": 128, "routed_scaling_factor": 1.0,
                   "moe_intermediate_size": 1407})"}};
constexpr ConfigDefaults kV3Defaults[] = {
    {.model_type = "deepseek_v3",
     .values = R"({"vocab_size": 129280, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6,
                   "first_k_dense_replace": 3, "kv_lora_rank": 512, "q_lora_rank": 1536,
                   "n_routed_experts": 256, "n_shared_experts": 1, "qk_nope_head_dim": 128,
                   "qk_rope_head_dim": 64, "v_head_dim": 128, "routed_scaling_factor": 2.5,
                   "moe_intermediate_size": 2048, "n_group": 8, "topk_group": 4,
                   "num_experts_per_tok": 8, "norm_topk_prob": true})"}};

void add_v1_metadata(const ModelContext& model, MetadataWriter& out) {
  const ModelConfig& config = model.config.values;
  add_common_metadata(model, out);
  out.u32("rope.dimension_count", config.head_dim());
  out.text("rope.scaling.type", "none");
  out.u32("leading_dense_block_count", config.count({"first_k_dense_replace"}));
  out.u32("vocab_size", config.count({"vocab_size"}));
  out.u32("expert_feed_forward_length", config.count({"moe_intermediate_size"}));
  out.f32("expert_weights_scale", 1.0);
  out.u32("expert_count", config.count({"n_routed_experts"}));
  out.u32("expert_shared_count", config.count({"n_shared_experts"}));
}

// Latent attention runs as attention with one key-value head of latent plus rotary width. The
// converter's configuration has the rotary width as head_dim, which puts the lengths where the
// common keys have them: before general.file_type.
void add_latent_lengths(const ModelConfig& config, MetadataWriter& out) {
  const std::uint64_t latent = config.count({"kv_lora_rank"});
  out.all().erase("general.file_type");
  out.u32("attention.head_count_kv", 1);
  out.u32("attention.key_length", latent + config.count({"qk_rope_head_dim"}));
  out.u32("attention.value_length", latent);
  add_file_type(out);
}

void add_v2_metadata(const ModelContext& model, MetadataWriter& out) {
  const ModelConfig& config = model.config.values;
  add_common_metadata(model, out);
  add_latent_lengths(config, out);
  const bool experts = config.has("n_routed_experts");
  out.u32("leading_dense_block_count",
          config.find_count({"first_k_dense_replace"}).value_or(experts ? 0 : model.layers));
  out.u32("vocab_size", config.count({"vocab_size"}));
  if (config.has("q_lora_rank")) {
    out.u32("attention.q_lora_rank", config.count({"q_lora_rank"}));
  }
  out.u32("attention.kv_lora_rank", config.count({"kv_lora_rank"}));
  out.u32("attention.key_length_mla",
          config.count({"qk_nope_head_dim"}) + config.count({"qk_rope_head_dim"}));
  out.u32("attention.value_length_mla", config.count({"v_head_dim"}));
  out.u32("expert_feed_forward_length",
          config.count({"moe_intermediate_size", "intermediate_size"}));
  out.u32("expert_shared_count", config.find_count({"n_shared_experts"}).value_or(0));
  if (const auto scale = config.find_number({"routed_scaling_factor"})) {
    out.f32("expert_weights_scale", *scale);
  }
  if (config.flag("norm_topk_prob", false)) out.flag("expert_weights_norm", true);
  out.u32("rope.dimension_count", config.count({"qk_rope_head_dim"}));
  if (const auto scale = model.config.rope.find_number({"mscale_all_dim"})) {
    out.f32("rope.scaling.yarn_log_multiplier", 0.1 * *scale);
  }
}

// What a layer must have. The rules call these tensors optional, because each layer has one set of
// experts or dense and one of the query projections.
constexpr std::string_view kExperts[] = {"mlp.gate", "mlp.experts.0.down_proj",
                                         "mlp.experts.0.gate_proj", "mlp.experts.0.up_proj"};
constexpr std::string_view kSharedExperts[] = {
    "mlp.shared_experts.down_proj", "mlp.shared_experts.gate_proj", "mlp.shared_experts.up_proj"};
constexpr std::string_view kDense[] = {"mlp.down_proj", "mlp.gate_proj", "mlp.up_proj"};
constexpr std::string_view kTwoQueries[] = {"self_attn.q_a_proj", "self_attn.q_a_layernorm",
                                            "self_attn.q_b_proj"};
constexpr std::string_view kOneQuery[] = {"self_attn.q_proj"};

// Throws the ValidationError of the first layer that misses a tensor.
void check_layers(const ModelContext& model) {
  const ModelConfig& config = model.config.values;
  const bool shared = config.find_count({"n_shared_experts"}).value_or(0) > 0;
  std::unordered_set<std::string_view> names;
  for (const SourceTensor& tensor : model.tensors) names.insert(tensor.name);
  const auto name_of = [](std::uint64_t layer, std::string_view part) {
    return fmt::format("model.layers.{}.{}.weight", layer, part);
  };
  using Parts = std::span<const std::string_view>;
  const auto require = [&](std::uint64_t layer, Parts parts) {
    for (const std::string_view part : parts) {
      const std::string name = name_of(layer, part);
      if (names.contains(name)) continue;
      throw ValidationError({.where = "checkpoint",
                             .found = "no tensor " + name,
                             .expected = fmt::format("every tensor of {} with {} layers",
                                                     model.row.name, model.layers),
                             .remedy = {}});
    }
  };
  const bool two_queries = config.has("q_lora_rank");
  const std::uint64_t dense_layers = config.find_count({"first_k_dense_replace"}).value_or(0);
  const std::uint64_t every = config.find_count({"moe_layer_freq"}).value_or(1);
  for (std::uint64_t layer = 0; layer < model.layers; ++layer) {
    const bool experts = config.has("n_routed_experts") && layer >= dense_layers &&
                         (every == 0 || layer % every == 0);
    require(layer, two_queries ? Parts(kTwoQueries) : Parts(kOneQuery));
    require(layer, experts ? Parts(kExperts) : Parts(kDense));
    if (experts && shared) require(layer, kSharedExperts);
  }
}

// Layers after the last one predict further tokens; a tied output matrix is stored twice.
bool is_not_converted(const ModelContext& model, std::string_view name) {
  if (name == "lm_head.weight") return model.config.values.flag("tie_word_embeddings", false);
  constexpr std::string_view kLayers = "layers.";
  if (!name.starts_with(kLayers)) return false;
  name.remove_prefix(kLayers.size());
  std::uint64_t layer = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  return error == std::errc() && end != name.data() + name.size() && *end == '.' &&
         layer >= model.layers;
}

constexpr ModelClass v2_class(std::string_view name, std::span<const ConfigDefaults> defaults) {
  return {
      .name = name,
      .architecture = "deepseek2",
      .tensors = kV2Tensors,
      .metadata = add_v2_metadata,
      .vocabulary = kV2Vocabulary,
      .defaults = defaults,
      .drop = is_not_converted,
      .check = check_layers,
  };
}

constexpr ModelClass kRows[] = {
    {
        .name = "DeepseekForCausalLM",
        .architecture = "deepseek",
        .tensors = kV1Tensors,
        .metadata = add_v1_metadata,
        .vocabulary = kV1Vocabulary,
        .check = check_layers,
    },
    v2_class("DeepseekV2ForCausalLM", kV2Defaults),
    v2_class("DeepseekV3ForCausalLM", kV3Defaults),
};

}  // namespace

std::span<const ModelClass> deepseek_classes() { return kRows; }

}  // namespace qwodel
