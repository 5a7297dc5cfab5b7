// The Llama family: tables and functions that later families share.
#pragma once

#include <span>

#include "models/registry.h"

namespace qwodel {

std::span<const ModelClass> llama_classes();

// The common keys, ARCH.vocab_size and ARCH.rope.dimension_count.
void add_llama_metadata(const ModelContext& model, MetadataWriter& out);

// tokenizer_config.json's add_prefix_space, and what models of certain vocabularies need.
void add_llama_space_prefix(const ModelContext& model, MetadataWriter& out);
void add_llama_special_tokens(const ModelContext& model, VocabularyKind kind, MetadataWriter& out);

// SentencePiece, BPE with byte fallback, byte-level BPE.
std::span<const VocabularyKind> llama_vocabulary();

}  // namespace qwodel
