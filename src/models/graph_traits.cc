#include "models/graph_traits.h"

#include "models/latent_attention.h"

namespace qwodel {
namespace {

// In the order of the GGUF names. What is left out is Llama's.
constexpr DecoderTraits kTraits[] = {
    {.architecture = "bloom",
     .norm = NormKind::layer,
     .activation = ActivationKind::gelu_tanh,
     .positions = Positions::alibi},
    {.architecture = "command-r",
     .norm = NormKind::layer,
     .residual = Residual::parallel,
     .divides_logits = false},
    {.architecture = "deepseek", .normalizes_experts = false},
    {.architecture = "deepseek2", .normalizes_experts = false, .attention = add_latent_attention},
    {.architecture = "falcon",
     .norm = NormKind::layer,
     .activation = ActivationKind::gelu_erf,
     .rope = RopeLayout::halves,
     .residual = Residual::parallel},
    {.architecture = "gemma",
     .activation = ActivationKind::gelu_tanh,
     .rope = RopeLayout::halves,
     .scales_embedding = true},
    {.architecture = "gemma2",
     .activation = ActivationKind::gelu_tanh,
     .rope = RopeLayout::halves,
     .scales_embedding = true,
     .window = {.period = 2, .sliding = 1},
     .width_scaled_layers = 46},
    {.architecture = "gemma3",
     .activation = ActivationKind::gelu_tanh,
     .rope = RopeLayout::halves,
     .scales_embedding = true,
     .window = {.period = 6, .sliding = 5},
     .sliding_rope_base = 10000,
     .width_scaled_layers = 62},
    {.architecture = "gpt2",
     .norm = NormKind::layer,
     .activation = ActivationKind::gelu_tanh,
     .positions = Positions::learned},
    {.architecture = "gptneox",
     .norm = NormKind::layer,
     .activation = ActivationKind::gelu_erf,
     .rope = RopeLayout::halves,
     .residual = Residual::either},
    {.architecture = "granite"},
    {.architecture = "granitemoe"},
    {.architecture = "internlm2"},
    {.architecture = "llama"},
    {.architecture = "minicpm"},
    {.architecture = "mpt",
     .norm = NormKind::layer,
     .activation = ActivationKind::gelu_erf,
     .positions = Positions::alibi},
    {.architecture = "olmo", .norm = NormKind::layer, .norms_have_weights = false},
    {.architecture = "olmo2", .rope = RopeLayout::halves},
    {.architecture = "phi2",
     .norm = NormKind::layer,
     .activation = ActivationKind::gelu_tanh,
     .rope = RopeLayout::halves,
     .residual = Residual::parallel},
    {.architecture = "phi3", .rope = RopeLayout::halves},
    {.architecture = "qwen2", .rope = RopeLayout::halves},
    {.architecture = "qwen2moe", .rope = RopeLayout::halves, .normalizes_experts = false},
    {.architecture = "qwen3", .rope = RopeLayout::halves},
    {.architecture = "qwen3moe", .rope = RopeLayout::halves},
    {.architecture = "smollm3", .rotary_skips_every = 4},
    {.architecture = "stablelm",
     .norm = NormKind::layer,
     .rope = RopeLayout::halves,
     .residual = Residual::parallel_without_norm},
    {.architecture = "starcoder",
     .norm = NormKind::layer,
     .activation = ActivationKind::gelu_tanh,
     .positions = Positions::learned},
    {.architecture = "starcoder2",
     .norm = NormKind::layer,
     .activation = ActivationKind::gelu_tanh,
     .rope = RopeLayout::halves},
};

}  // namespace

std::span<const DecoderTraits> decoder_traits() { return kTraits; }

const DecoderTraits* find_decoder_traits(std::string_view architecture) {
  for (const DecoderTraits& row : kTraits) {
    if (row.architecture == architecture) return &row;
  }
  return nullptr;
}

}  // namespace qwodel
