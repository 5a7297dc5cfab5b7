// config.json as the model families read it: one flat set of typed values.
//
// llama.cpp's converter does not read config.json itself but what the transformers library makes of
// it: nested text_config at the top level, the defaults of the configuration class filled in,
// rotary settings of old and new style in one `rope_parameters` object. The same happens here; the
// defaults are data in the families' rows (registry.h).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "io/json_fwd.h"

namespace qwodel {

// Typed access. A list of keys means: the value of the first key that is there, as the names differ
// between families. A null value counts as absent. All errors are ValidationErrors naming the key.
class ModelConfig {
 public:
  using Keys = std::initializer_list<std::string_view>;

  ModelConfig();  // without any value
  // `values` is an object; anything else counts as an empty one.
  explicit ModelConfig(Json values);

  // The value of the first key present, or nullptr when there is none or it is null.
  const Json* find(Keys keys) const;
  bool has(std::string_view key) const { return find({key}) != nullptr; }

  // Whole numbers of 0 to 2^32 - 1: metadata counts are u32.
  std::optional<std::uint64_t> find_count(Keys keys) const;
  std::uint64_t count(Keys keys) const;
  // At least 1: extents, numbers of heads and layers.
  std::uint64_t size(Keys keys) const;

  // Finite and within the range of float.
  std::optional<double> find_number(Keys keys) const;
  double number(Keys keys) const;

  std::optional<std::string> find_text(Keys keys) const;
  bool flag(std::string_view key, bool fallback) const;

  std::uint64_t layers() const;
  std::uint64_t hidden_size() const;
  std::uint64_t heads() const;
  std::uint64_t kv_heads() const;  // heads() when not given
  std::uint64_t head_dim() const;  // hidden_size() / heads() when not given
  std::uint64_t experts() const;

  const Json& values() const { return *values_; }

 private:
  std::shared_ptr<const Json> values_;
};

// What a configuration class of transformers (5.23) fills in; one per config.json "model_type".
struct ConfigDefaults {
  std::string_view model_type;
  std::string_view values = "{}";    // JSON object: a key that is absent gets this value
  bool kv_heads_from_heads = true;   // a null num_key_value_heads becomes num_attention_heads
  bool head_dim_from_width = false;  // a null head_dim becomes hidden_size / num_attention_heads
  double rope_theta = 10000.0;       // 0: the class knows no rotary settings
  double partial_rotary_factor = 0;  // 0: no default
  double local_rope_theta = 0;       // not 0: separate settings for sliding and full attention
};

// The merged configuration. `full_rope` is the part of `rope` for layers with full attention, the
// same values unless the two kinds of layer differ.
struct LoadedConfig {
  ModelConfig values;
  ModelConfig rope;
  ModelConfig full_rope;
};

// Moves nested text configurations to the top level, applies `defaults` (nullptr: none, the
// converter then reads config.json as it is) and merges the rotary settings.
LoadedConfig load_config(const Json& config, const ConfigDefaults* defaults);

// architectures[0] of config.json, or of the nested text configuration when that has one. Throws
// ValidationError.
std::string model_class_of(const Json& config);

// The nested text configuration of a multimodal model, or nullptr.
const Json* text_config_of(const Json& config);

}  // namespace qwodel
