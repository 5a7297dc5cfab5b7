// Weights of tools/golden/recipe_weights.py, made here bit by bit alike, and the tensors of a
// ModelSpec over them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "graph/graph_weights.h"
#include "models/model_spec.h"

namespace qwodel {

inline std::uint64_t recipe_seed(std::string_view name) {  // FNV-1a
  std::uint64_t value = 0xCBF29CE484222325u;
  for (const char c : name) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return value;
}

inline std::uint64_t recipe_hash(std::uint64_t x) {  // splitmix64
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

inline float recipe_value(std::string_view name, std::size_t rank, std::uint64_t index) {
  const auto contains = [&](std::string_view part) {
    return name.find(part) != std::string_view::npos;
  };
  const float k = static_cast<float>(recipe_hash(recipe_seed(name) + index) >> 56) - 128;
  if (rank == 1) return contains("bias") ? k / 512 : 1 + k / 256;
  return contains("embed") || contains("wte") || contains("wpe") ? k / 128 : k / 512;
}

inline std::vector<std::uint32_t> recipe_tokens(std::uint64_t count) {
  std::vector<std::uint32_t> tokens;
  for (std::uint64_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<std::uint32_t>((i * i * 37 + i * 11 + 5) % 491));
  }
  return tokens;
}

// Every tensor in memory.
class RecipeWeights final : public GraphWeights {
 public:
  // `tensors` are the checkpoint's: a source's rank decides its values.
  RecipeWeights(const Graph& graph, const ModelSpec& spec,
                const std::vector<SourceTensor>& tensors) {
    for (const GraphWeight& weight : graph.weights) {
      const ModelTensor& tensor = spec.tensors[weight.tensor];
      std::vector<float>& values = values_.emplace_back(tensor.generated);
      for (const TensorView& view : tensor.parts) {
        const std::string& source = spec.sources[view.source];
        std::size_t rank = 0;
        for (const SourceTensor& known : tensors) {
          if (known.name == source) rank = known.shape.size();
        }
        const float added = tensor.op == Elementwise::plus_one ? 1.0f : 0.0f;
        append(view, source, rank, 0, view.offset, added, values);
      }
    }
  }

  void read(WeightId weight, std::uint64_t first, std::span<float> out) const override {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = values_.at(weight).at(first + i);
  }
  std::vector<float>& values(WeightId weight) { return values_.at(weight); }

  void will_need(WeightId) const override {}
  void done_with(WeightId) const override {}

 private:
  static void append(const TensorView& view, const std::string& source, std::size_t rank,
                     std::size_t axis, std::uint64_t offset, float added,
                     std::vector<float>& values) {
    if (axis == view.shape.size()) {
      values.push_back(recipe_value(source, rank, offset) + added);
      return;
    }
    for (std::uint64_t i = 0; i < view.shape[axis]; ++i) {
      append(view, source, rank, axis + 1, offset + i * view.strides[axis], added, values);
    }
  }

  std::vector<std::vector<float>> values_;
};

}  // namespace qwodel
