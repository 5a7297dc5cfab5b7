// The names that tokenizer.ggml.pre may have for byte-level BPE, and how a tokenizer gets one.
//
// A name stands for a way to split a text and a few traits. A tokenizer gets the name of the family
// that splits as its own pre-tokenizer does: one that has the same expressions, or else one that
// gives the same words of a text made to tell all families apart.
//
// Names: llama.cpp b11739, src/llama-vocab.cpp (MIT, The ggml authors).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/pre_tokenizer.h"

namespace qwodel {

// What tells names of one family apart.
struct PreTraits {
  bool ignore_merges = false;
  bool adds_begin = false;      // a begin token is put in front of a text
  bool adds_separator = false;  // RoBERTa's <s> A </s></s> B </s>
  bool composes = false;        // normalizer NFC
  bool space_tokens = false;    // runs of spaces are added tokens
  bool cleans_spaces = false;   // clean_up_tokenization_spaces is true
  bool keeps_spaces = false;    // it is false, not absent
};

struct PreName {
  std::string_view name;
  bool PreTraits::* needs = nullptr;  // the trait that a tokenizer must have to get this name
};

struct PreFamily {
  std::span<const std::string_view> patterns;  // applied in turn, matches and gaps isolated
  std::span<const PreName> names;              // the first whose trait is there
};

std::span<const PreFamily> pre_families();

// True for each name that llama.cpp loads, also those that no rule here gives.
bool is_pre_name(std::string_view name);

// The text that the families split differently.
std::string_view probe_text();

// Throws ValidationError when no family splits as `pre_tokenizer`: names the nearest and the first
// part of the probe text that they split differently.
std::string derive_pre_name(const PreTokenizer& pre_tokenizer, const PreTraits& traits,
                            const std::string& source);

// Names whose runtime puts a begin token in front of a text unless the file says otherwise.
bool adds_begin_by_default(std::string_view name);

}  // namespace qwodel
