// What a graph needs to know that config.json says and GGUF's metadata has no key for.
//
// A GGUF has no hints: the graph then assumes what the class's published models have, as llama.cpp
// does. Hints are never written to a file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace qwodel {

struct LoadedConfig;

struct GraphHints {
  std::string activation;                       // transformers' name: "gelu_new"; empty: unknown
  std::optional<std::uint64_t> sliding_window;  // 0: none
  std::vector<bool> sliding_layers;             // empty: the family's pattern
  std::vector<bool> rotary_layers;              // empty: the family's pattern
  std::optional<double> attention_scale;
  std::optional<bool> normalize_experts;  // weights of the chosen experts divided by their sum
  std::optional<double> rope_base;
  std::optional<double> rope_magnitude;            // where the file's scaling does not say it
  std::optional<std::uint64_t> pretrained_length;  // positions before LongRoPE's long factors apply
};

// Throws ValidationError for a key of the wrong kind. REQUIRES: the tensors have proven `layers`.
GraphHints graph_hints(const LoadedConfig& config, std::uint64_t layers);

}  // namespace qwodel
