#include "models/rope.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <numbers>
#include <utility>

#include "io/json.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kMaxHeadDim = 1u << 20;

// One pair's factor. Each quotient is a rounded reciprocal times the numerator, because that is how
// the converter's tensor library divides a number by a tensor.
float llama3_factor(float frequency, float factor, float low, float high, double context) {
  const auto long_wave = static_cast<float>(context / static_cast<double>(low));
  const auto short_wave = static_cast<float>(context / static_cast<double>(high));
  const float wavelength = (1.0f / frequency) * static_cast<float>(2 * std::numbers::pi);
  if (wavelength < short_wave) return 1.0f;
  if (wavelength > long_wave) return factor;
  const float turns = (1.0f / wavelength) * static_cast<float>(context);
  const auto span = static_cast<float>(static_cast<double>(high) - static_cast<double>(low));
  const float smooth = (turns - low) / span;
  return 1.0f / ((1.0f - smooth) / factor + smooth);
}

}  // namespace

ModelTensor generated_tensor(std::string name, std::vector<float> values) {
  ModelTensor tensor{
      .name = std::move(name), .shape = {values.size()}, .parts = {}, .generated = {}};
  tensor.generated = std::move(values);
  return tensor;
}

std::vector<float> float_list(const ModelConfig& config, std::string_view key) {
  std::vector<float> values;
  const Json* list = config.find({key});
  const bool is_list = list != nullptr && list->is_array();
  if (is_list) {
    for (const Json& entry : *list) {
      if (!entry.is_number()) break;
      values.push_back(entry.get<float>());
    }
  }
  if (!is_list || values.size() != list->size()) {
    throw ValidationError({.where = "config.json, " + std::string(key),
                           .found = list == nullptr ? "no such key" : "something else",
                           .expected = "a list of numbers",
                           .remedy = {}});
  }
  return values;
}

void add_llama3_factors(const ModelContext& model, std::vector<ModelTensor>& out) {
  const ModelConfig& rope = model.config.full_rope;
  std::string type = rope.find_text({"rope_type"}).value_or("");
  std::ranges::transform(type, type.begin(), [](unsigned char c) { return std::tolower(c); });
  if (type != "llama3") return;
  const std::uint64_t dim = model.config.values.head_dim();
  if (dim > kMaxHeadDim || dim == 0) {
    throw ValidationError({.where = "config.json, head_dim",
                           .found = std::to_string(dim),
                           .expected = "1 to " + std::to_string(kMaxHeadDim),
                           .remedy = {}});
  }
  const auto number = [&](std::string_view key, double fallback) {
    return rope.find_number({key}).value_or(fallback);
  };
  const auto base = static_cast<float>(number("rope_theta", 10000.0));
  const auto factor = static_cast<float>(number("factor", 8.0));
  const auto low = static_cast<float>(number("low_freq_factor", 1.0));
  const auto high = static_cast<float>(number("high_freq_factor", 4.0));
  const double context = number("original_max_position_embeddings", 8192);
  std::vector<float> factors;
  for (std::uint64_t i = 0; i < dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(dim);
    const auto power =
        static_cast<float>(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
    factors.push_back(llama3_factor(1.0f / power, factor, low, high, context));
  }
  out.push_back(generated_tensor("rope_freqs.weight", std::move(factors)));
}

}  // namespace qwodel
