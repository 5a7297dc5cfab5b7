#include "models/decoder_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <utility>

#include "core/checked.h"
#include "formats/tensor_info.h"
#include "models/arch_metadata.h"
#include "models/rope_settings.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kMaxHeadDim = 1u << 20;

struct NamedActivation {
  std::string_view name;
  ActivationKind kind;
};

// transformers: ACT2FN. The tanh forms differ in their last bits only.
constexpr std::array kActivations = {
    NamedActivation{"silu", ActivationKind::silu},
    NamedActivation{"swish", ActivationKind::silu},
    NamedActivation{"gelu", ActivationKind::gelu_erf},
    NamedActivation{"gelu_new", ActivationKind::gelu_tanh},
    NamedActivation{"gelu_fast", ActivationKind::gelu_tanh},
    NamedActivation{"gelu_pytorch_tanh", ActivationKind::gelu_tanh},
    NamedActivation{"relu", ActivationKind::relu},
};

ActivationKind activation_of(const ModelSpec& spec, const DecoderTraits& traits) {
  const std::string& name = spec.hints.activation;
  if (name.empty()) return traits.activation;
  for (const NamedActivation& known : kActivations) {
    if (known.name == name) return known.kind;
  }
  throw FormatNotSupportedError({.where = "config.json, hidden_act",
                                 .found = name,
                                 .expected = "silu, gelu, a tanh form of gelu, or relu",
                                 .remedy = {}});
}

// Press et al. 2022: powers of one ratio for the largest power of two of heads, the odd powers of
// its square root for the others.
std::vector<float> alibi_slopes(std::uint64_t heads, float max_bias) {
  if (max_bias == 0) return {};
  const std::uint64_t whole = std::bit_floor(heads);
  std::vector<float> slopes;
  for (std::uint64_t h = 0; h < heads; ++h) {
    const auto step = static_cast<double>(h < whole ? h + 1 : 2 * (h - whole) + 1);
    const auto count = static_cast<double>(h < whole ? whole : 2 * whole);
    slopes.push_back(static_cast<float>(std::exp2(-static_cast<double>(max_bias) * step / count)));
  }
  return slopes;
}

void read_heads(const GraphBuilder& graph, const ArchMetadata& keys, DecoderSettings& model) {
  model.heads = keys.size("attention.head_count");
  model.kv_heads = keys.size_or("attention.head_count_kv", model.heads);
  const std::uint64_t even = model.hidden_size / model.heads;
  model.key_dim = keys.size_or("attention.key_length", even);
  model.value_dim = keys.size_or("attention.value_length", even);
  model.full_key_dim = keys.size_or("attention.key_length_mla", model.key_dim);
  model.full_value_dim = keys.size_or("attention.value_length_mla", model.value_dim);
  // Rotary pairs are listed before the projections are seen.
  if (std::max(model.key_dim, model.full_key_dim) > kMaxHeadDim) {
    keys.fail("attention.key_length", fmt::format("{}", model.key_dim),
              fmt::format("at most {}", kMaxHeadDim));
  }
  if (model.key_dim == 0 || model.value_dim == 0 || model.heads % model.kv_heads != 0) {
    keys.fail("attention.head_count",
              fmt::format("{} heads for {} key-value heads and a width of {}", model.heads,
                          model.kv_heads, model.hidden_size),
              "a multiple of the key-value heads, at most the width");
  }
  // So are slopes of heads.
  const ModelTensor& output = graph.require(block_name(0) + "attn_output.weight");
  const auto rows = checked_mul(model.heads, model.full_value_dim);
  if (output.shape.size() != 2 || rows != output.shape[1]) {
    throw ValidationError(
        {.where = output.name,
         .found = shape_text(output.shape),
         .expected = fmt::format("{} heads of {} columns", model.heads, model.full_value_dim),
         .remedy = {}});
  }
}

void read_attention(const GraphBuilder& graph, const ArchMetadata& keys, DecoderSettings& model) {
  const DecoderTraits& traits = *model.traits;
  const GraphHints& hints = graph.spec().hints;
  model.causal = keys.find_flag("attention.causal").value_or(true);
  const bool by_width =
      traits.width_scaled_layers != 0 && model.layers == traits.width_scaled_layers;
  const std::uint64_t scaled_dim = by_width ? model.hidden_size / model.heads : model.full_key_dim;
  const double usual = 1.0 / std::sqrt(static_cast<double>(scaled_dim));
  model.attention_scale = static_cast<float>(hints.attention_scale.value_or(usual));
  const float given = keys.number_or("attention.scale", 0);
  if (given != 0) model.attention_scale = given;
  // DeepSeek puts YaRN's temperature, squared, on the scores.
  const float multiplier = keys.number_or("rope.scaling.yarn_log_multiplier", 0);
  if (multiplier != 0) {
    const float magnitude =
        yarn_magnitude(keys.positive_or("rope.scaling.factor", 1), 10 * multiplier);
    model.attention_scale *= magnitude * magnitude;
  }
  model.attention_softcap = keys.limit("attn_logit_softcapping");
  model.qkv_limit = keys.limit("attention.clamp_kqv");
  if (traits.positions == Positions::alibi) {
    model.alibi_slopes = alibi_slopes(model.heads, keys.number_or("attention.max_alibi_bias", 8));
  }
}

void read_windows(const GraphBuilder& graph, const ArchMetadata& keys, DecoderSettings& model) {
  const GraphHints& hints = graph.spec().hints;
  const std::uint64_t window =
      hints.sliding_window.value_or(keys.find_count("attention.sliding_window").value_or(0));
  std::vector<bool> slides = hints.sliding_layers;
  if (slides.empty()) slides = keys.flags("attention.sliding_window_pattern");
  if (!slides.empty() && slides.size() < model.layers) {
    keys.fail("attention.sliding_window_pattern", fmt::format("{} layers", slides.size()),
              fmt::format("{}", model.layers));
  }
  const WindowPattern& pattern = model.traits->window;
  for (std::uint64_t i = 0; i < model.layers; ++i) {
    const bool sliding =
        slides.empty() ? i % pattern.period < pattern.sliding : static_cast<bool>(slides[i]);
    model.windows.push_back(sliding ? window : 0);
  }
}

void read_rope(const GraphBuilder& graph, const ArchMetadata& keys, DecoderSettings& model) {
  const DecoderTraits& traits = *model.traits;
  if (traits.positions != Positions::rotary) return;
  const std::uint64_t head_dim = model.full_key_dim;
  model.rotary_dim = keys.size_or("rope.dimension_count", head_dim);
  if (model.rotary_dim > head_dim || model.rotary_dim % 2 != 0) {
    keys.fail("rope.dimension_count", fmt::format("{}", model.rotary_dim),
              fmt::format("an even number up to {}", head_dim));
  }
  RopePair pair = rope_settings(graph, traits, head_dim, model.rotary_dim);
  model.rope = std::move(pair.full);
  model.sliding_rope = std::move(pair.sliding);
  model.rotary_layers = graph.spec().hints.rotary_layers;
  if (model.rotary_layers.size() >= model.layers) return;
  model.rotary_layers.clear();
  const std::uint64_t skipped = traits.rotary_skips_every;
  for (std::uint64_t i = 0; i < model.layers; ++i) {
    model.rotary_layers.push_back(skipped == 0 || (i + 1) % skipped != 0);
  }
}

void read_scales(const ArchMetadata& keys, DecoderSettings& model) {
  const double root = std::sqrt(static_cast<double>(model.hidden_size));
  model.embedding_scale = keys.number_or(
      "embedding_scale", model.traits->scales_embedding ? static_cast<float>(root) : 1.0f);
  model.residual_scale = keys.number_or("residual_scale", 1);
  const float logits = keys.number_or("logit_scale", 1);
  if (logits == 0) keys.fail("logit_scale", "0", "another number");
  model.logit_factor = model.traits->divides_logits ? 1 / logits : logits;
  model.logit_softcap = keys.limit("final_logit_softcapping");
}

// llama.cpp: llama_expert_gating_func_type.
RouterScoring scoring_of(const ArchMetadata& keys) {
  const std::uint64_t function = keys.find_count("expert_gating_func").value_or(0);
  constexpr std::array kScorings = {RouterScoring::softmax, RouterScoring::softmax,
                                    RouterScoring::sigmoid, RouterScoring::softmax_top_k};
  if (function < kScorings.size()) return kScorings[function];
  throw FormatNotSupportedError({.where = "expert_gating_func",
                                 .found = fmt::format("{}", function),
                                 .expected = "1 to 3: softmax, sigmoid, softmax of the chosen",
                                 .remedy = {}});
}

void read_experts(const GraphBuilder& graph, const ArchMetadata& keys, DecoderSettings& model) {
  model.experts = keys.find_count("expert_count").value_or(0);
  if (model.experts == 0) return;
  RouteOp& route = model.route;
  route.experts = model.experts;
  route.top_k = keys.size("expert_used_count");
  route.scoring = scoring_of(keys);
  route.normalize = keys.find_flag("expert_weights_norm")
                        .value_or(graph.spec().hints.normalize_experts.value_or(
                            model.traits->normalizes_experts));
  const float scale = keys.number_or("expert_weights_scale", 1);
  route.scale = scale == 0 ? 1 : scale;
  route.groups = keys.size_or("expert_group_count", 1);
  route.top_groups = keys.size_or("expert_group_used_count", route.groups);
  route.groups_by_top_two = route.scoring == RouterScoring::sigmoid;
}

}  // namespace

std::string block_name(std::uint64_t layer) { return fmt::format("blk.{}.", layer); }

DecoderSettings decoder_settings(const GraphBuilder& graph, const DecoderTraits& traits) {
  const ArchMetadata keys(graph.spec());
  DecoderSettings model;
  model.traits = &traits;
  model.layers = keys.size("block_count");
  model.hidden_size = keys.size("embedding_length");
  model.context_length = keys.find_count("context_length").value_or(0);
  const ModelTensor& embedding = graph.require("token_embd.weight");
  if (embedding.shape.size() != 2 || embedding.shape[1] != model.hidden_size) {
    throw ValidationError({.where = embedding.name,
                           .found = shape_text(embedding.shape),
                           .expected = fmt::format("rows of {} columns", model.hidden_size),
                           .remedy = {}});
  }
  model.vocab_size = embedding.shape[0];
  // Lists with an entry per layer are made before the layers' tensors are seen.
  if (model.layers > graph.spec().tensors.size()) {
    keys.fail("block_count", fmt::format("{}", model.layers),
              fmt::format("layers for {} tensors", graph.spec().tensors.size()));
  }
  model.norm_epsilon =
      keys.number_or(traits.norm == NormKind::rms ? "attention.layer_norm_rms_epsilon"
                                                  : "attention.layer_norm_epsilon",
                     1e-5f);
  model.activation = activation_of(graph.spec(), traits);
  model.parallel = traits.residual == Residual::parallel ||
                   (traits.residual == Residual::either &&
                    keys.find_flag("use_parallel_residual").value_or(true));
  read_heads(graph, keys, model);
  read_attention(graph, keys, model);
  read_windows(graph, keys, model);
  read_rope(graph, keys, model);
  read_scales(keys, model);
  read_experts(graph, keys, model);
  return model;
}

}  // namespace qwodel
