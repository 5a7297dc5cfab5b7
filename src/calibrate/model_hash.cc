#include "calibrate/model_hash.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <memory>

namespace qwodel {

std::string hash_of_model(const Graph& graph, const GraphWeights& weights) {
  constexpr std::uint64_t kPlaces = 16;
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                       &XXH3_freeState);
  XXH3_128bits_reset(state.get());
  const auto add = [&](const void* data, std::size_t size) {
    XXH3_128bits_update(state.get(), data, size);
  };
  for (WeightId id = 0; id < graph.weights.size(); ++id) {
    const GraphWeight& weight = graph.weights[id];
    add(weight.name.data(), weight.name.size() + 1);
    add(weight.shape.data(), weight.shape.size() * sizeof(std::uint64_t));
    std::uint64_t count = 1;
    for (const std::uint64_t extent : weight.shape) count *= extent;
    std::array<float, 64> values{};
    const std::uint64_t size = std::min<std::uint64_t>(values.size(), count);
    const std::uint64_t step = std::max<std::uint64_t>(1, (count - size) / kPlaces);
    for (std::uint64_t first = 0; first + size <= count; first += step) {
      weights.read(id, first, std::span(values).first(static_cast<std::size_t>(size)));
      add(values.data(), static_cast<std::size_t>(size) * sizeof(float));
      if (first / step == kPlaces) break;
    }
    weights.done_with(id);  // pages around the places are mapped with them
  }
  const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace qwodel
