#include "models/rope_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "qwodel/error.h"

namespace qwodel {
namespace {

using Frequencies = std::vector<float>;

// base^(-2i / n) in the steps of transformers, all in single precision.
Frequencies plain_frequencies(float base, std::uint64_t rotary_dim) {
  Frequencies frequencies;
  for (std::uint64_t i = 0; i < rotary_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(rotary_dim);
    const auto power =
        static_cast<float>(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
    frequencies.push_back(1.0f / power);
  }
  return frequencies;
}

// The pair that turns `rotations` times within `length` positions.
double correction_pair(double rotations, double length, double base, double rotary_dim) {
  return rotary_dim * std::log(length / (rotations * 2 * std::numbers::pi)) / (2 * std::log(base));
}

// YaRN: fast pairs keep their frequency, slow ones are interpolated, those between are blended.
Frequencies yarn_frequencies(const ArchMetadata& keys, float base, float factor,
                             std::uint64_t length, const Frequencies& plain) {
  const auto pairs = static_cast<double>(plain.size());
  const auto corner = [&](std::string_view key, float fallback) {
    const auto rotations = static_cast<double>(keys.positive_or(key, fallback));
    return correction_pair(rotations, static_cast<double>(length), static_cast<double>(base),
                           2 * pairs);
  };
  const double low = std::max(std::floor(corner("rope.scaling.yarn_beta_fast", 32)), 0.0);
  double high = std::min(std::ceil(corner("rope.scaling.yarn_beta_slow", 1)), 2 * pairs - 1);
  if (low == high) high += 0.001;
  Frequencies blended;
  for (std::size_t i = 0; i < plain.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    const auto slow = static_cast<float>(ramp);
    blended.push_back(plain[i] / factor * slow + plain[i] * (1.0f - slow));
  }
  return blended;
}

// Values of a tensor that holds factors by which frequencies are divided.
const std::vector<float>& factors_of(const ModelTensor& tensor, std::uint64_t rotary_dim) {
  const std::vector<float>& factors = tensor.generated;
  const bool fits = 2 * factors.size() == rotary_dim &&
                    std::all_of(factors.begin(), factors.end(),
                                [](float x) { return std::isfinite(x) && x > 0; });
  if (fits) return factors;
  throw ValidationError({.where = tensor.name,
                         .found = fmt::format("{} values", factors.size()),
                         .expected = fmt::format("{} positive numbers", rotary_dim / 2),
                         .remedy = {}});
}

Frequencies divided(const Frequencies& plain, const std::vector<float>& factors) {
  Frequencies result;
  for (std::size_t i = 0; i < plain.size(); ++i) result.push_back(plain[i] / factors[i]);
  return result;
}

// LongRoPE: other factors beyond the pretrained length.
void set_long_rope(const GraphBuilder& graph, const ArchMetadata& keys, std::uint64_t rotary_dim,
                   RopeOp& rope) {
  const ModelTensor* longer = graph.find("rope_factors_long.weight");
  const ModelTensor* shorter = graph.find("rope_factors_short.weight");
  if (longer == nullptr || shorter == nullptr) return;
  const GraphHints& hints = graph.spec().hints;
  const Frequencies plain = std::move(rope.frequencies);
  rope.frequencies = divided(plain, factors_of(*shorter, rotary_dim));
  rope.long_frequencies = divided(plain, factors_of(*longer, rotary_dim));
  rope.magnitude = keys.positive_or("rope.scaling.attn_factor",
                                    static_cast<float>(hints.rope_magnitude.value_or(1)));
  rope.long_magnitude = rope.magnitude;
  rope.long_context = keys.find_count("rope.scaling.original_context_length")
                          .value_or(hints.pretrained_length.value_or(
                              keys.find_count("context_length").value_or(0)));
}

void set_yarn(const GraphBuilder& graph, const ArchMetadata& keys, float base, RopeOp& rope) {
  const float factor = keys.positive_or("rope.scaling.factor", 1);
  const std::uint64_t length = keys.size("rope.scaling.original_context_length");
  rope.frequencies = yarn_frequencies(keys, base, factor, length, rope.frequencies);
  // A multiplier says that scores carry the temperature instead (DeepSeek).
  const bool in_scores = keys.number_or("rope.scaling.yarn_log_multiplier", 0) != 0;
  const auto& hint = graph.spec().hints.rope_magnitude;
  const float usual = in_scores ? 1 : yarn_magnitude(factor, 1);
  rope.magnitude =
      hint ? static_cast<float>(*hint) : keys.positive_or("rope.scaling.yarn_attn_factor", usual);
}

}  // namespace

float yarn_magnitude(float factor, float multiplier) {
  return factor <= 1 ? 1.0f : 1.0f + 0.1f * multiplier * std::log(factor);
}

RopePair rope_settings(const GraphBuilder& graph, const DecoderTraits& traits,
                       std::uint64_t head_dim, std::uint64_t rotary_dim) {
  const ArchMetadata keys(graph.spec());
  const auto hinted = static_cast<float>(graph.spec().hints.rope_base.value_or(10000.0));
  const float base = keys.number_or("rope.freq_base", hinted);
  if (!(base > 1)) keys.fail("rope.freq_base", fmt::format("{}", base), "more than 1");
  RopeOp full{.head_dim = head_dim,
              .first = 0,
              .layout = traits.rope,
              .frequencies = plain_frequencies(base, rotary_dim),
              .magnitude = 1,
              .long_frequencies = {},
              .long_magnitude = 1,
              .long_context = 0};

  RopePair pair{full, full};
  const std::string scaling = keys.find_text("rope.scaling.type").value_or("none");
  if (scaling == "linear") {
    const float factor = keys.positive_or("rope.scaling.factor", 1);
    for (float& frequency : pair.full.frequencies) frequency /= factor;
  } else if (scaling == "yarn") {
    set_yarn(graph, keys, base, pair.full);
  } else if (scaling != "none" && scaling != "longrope") {
    throw FormatNotSupportedError({.where = graph.spec().architecture + ".rope.scaling.type",
                                   .found = scaling,
                                   .expected = "linear, yarn, longrope or none",
                                   .remedy = {}});
  }
  set_long_rope(graph, keys, rotary_dim, pair.full);
  if (const ModelTensor* factors = graph.find("rope_freqs.weight")) {
    pair.full.frequencies = divided(pair.full.frequencies, factors_of(*factors, rotary_dim));
  }
  if (traits.sliding_rope_base == 0) {
    pair.sliding = pair.full;
  } else {
    const float sliding =
        keys.number_or("rope.freq_base_swa", static_cast<float>(traits.sliding_rope_base));
    if (!(sliding > 1)) keys.fail("rope.freq_base_swa", fmt::format("{}", sliding), "more than 1");
    pair.sliding.frequencies = plain_frequencies(sliding, rotary_dim);
  }
  return pair;
}

}  // namespace qwodel
