// From the checkpoint's tensors to GGUF's, by the rules of a family.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/registry.h"

namespace qwodel {

// The numbers in a name that matched a pattern with {L} and {E}.
struct PatternMatch {
  std::uint64_t layer = 0;
  std::uint64_t index = 0;
};

// `pattern` against the whole of `name`. Numbers are decimal without leading zeros, up to nine
// digits.
std::optional<PatternMatch> match_pattern(std::string_view pattern, std::string_view name);

// `pattern` with numbers in place of {L} and {E}.
std::string expand_pattern(std::string_view pattern, std::uint64_t layer, std::uint64_t index);

// The checkpoint's name as the rules write it, or nothing for a tensor that a language model does
// not need: vision and audio towers, projectors, buffers that old checkpoints stored.
std::optional<std::string> rule_name(const ModelContext& model, std::string_view name);

// The first tensor that no rule of the model's class knows, or nothing.
std::optional<std::string> first_unknown_tensor(const ModelContext& model);

// Whether the converter writes this tensor as F32 whatever the output type. `axes` is the number of
// axes in GGUF.
bool is_kept_f32(std::string_view name, std::size_t axes);

// Fills sources and tensors, in the converter's order: generated tensors, then by checkpoint
// tensor. Throws ValidationError: a tensor without a rule, a rule without its tensor, layers or
// experts that do not agree with config.json, a shape that cannot be.
void assemble_tensors(const ModelContext& model, ModelSpec& spec);

}  // namespace qwodel
