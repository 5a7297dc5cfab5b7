// The Llama family: tables and functions that later families share.
#pragma once

#include <span>

#include "models/registry.h"
#include "models/transforms.h"

namespace qwodel {

std::span<const ModelClass> llama_classes();

// Separate q, k, v with rotary reordering, RMS norms, a gated feed-forward.
inline constexpr TensorRule kLlamaTensors[] = {
    {"embed_tokens", "token_embd"},
    {"norm", "output_norm"},
    {.hf = "lm_head", .gguf = "output", .need = Need::optional},
    {"layers.{L}.input_layernorm", "blk.{L}.attn_norm"},
    {"layers.{L}.self_attn.q_proj", "blk.{L}.attn_q", rotary_q},
    {"layers.{L}.self_attn.k_proj", "blk.{L}.attn_k", rotary_k},
    {"layers.{L}.self_attn.v_proj", "blk.{L}.attn_v"},
    {"layers.{L}.self_attn.o_proj", "blk.{L}.attn_output"},
    {"layers.{L}.post_attention_layernorm", "blk.{L}.ffn_norm"},
    {"layers.{L}.mlp.gate_proj", "blk.{L}.ffn_gate"},
    {"layers.{L}.mlp.up_proj", "blk.{L}.ffn_up"},
    {"layers.{L}.mlp.down_proj", "blk.{L}.ffn_down"},
};

// The common keys, ARCH.vocab_size and ARCH.rope.dimension_count.
void add_llama_metadata(const ModelContext& model, MetadataWriter& out);

// tokenizer_config.json's add_prefix_space, and what models of certain vocabularies need.
void add_llama_space_prefix(const ModelContext& model, MetadataWriter& out);
void add_llama_special_tokens(const ModelContext& model, VocabularyKind kind, MetadataWriter& out);

}  // namespace qwodel
