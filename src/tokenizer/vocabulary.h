// What a GGUF needs to carry of a tokenizer: tokenizer.ggml.* and tokenizer.chat_template* keys.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/gguf_value.h"

namespace qwodel {

// The forms a tokenizer comes in; a model family lists those it accepts in the order to try them.
enum class VocabularyKind : std::uint8_t {
  sentencepiece,      // tokenizer.model -> "llama" (or "t5" for a Unigram with charsmap)
  byte_fallback_bpe,  // tokenizer.json, BPE with byte_fallback -> "llama"
  byte_level_bpe,     // tokenizer.json, or vocab.json + merges.txt, or tiktoken -> "gpt2"
  wordpiece,          // tokenizer.json or vocab.txt -> "bert"
  unigram,            // tokenizer.json Unigram or tokenizer.model -> "t5"
};

// What an added token of a SentencePiece vocabulary is.
enum class AddedTokenRule : std::uint8_t {
  by_look,      // control if a file says special, or if its text looks so ("<|end|>", "<pad>")
  as_declared,  // control if a file says special; tokenizer.json's added tokens count too (Phi-3)
};

struct VocabularyRequest {
  std::filesystem::path directory;
  std::vector<VocabularyKind> kinds = {};
  std::uint64_t vocab_size = 0;  // rows of the embedding by config.json; gaps become [PADi]
  std::string pre = {};          // overrides tokenizer.ggml.pre when not empty
  AddedTokenRule added_tokens = AddedTokenRule::by_look;
};

// Adds the keys to `metadata` in the order convert_hf_to_gguf.py writes them. Returns the kind
// found. Throws ValidationError (damaged or contradictory files; a pre-tokenizer that behaves like
// no known one, naming the nearest and where they differ), FormatNotSupportedError (no file of
// these kinds).
VocabularyKind add_vocabulary(const VocabularyRequest& request, GgufMetadata& metadata);

}  // namespace qwodel
