#include "models/config.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>

#include "io/json.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kMaxCount = std::numeric_limits<std::uint32_t>::max();

std::string joined(ModelConfig::Keys keys) {
  std::string text;
  for (const std::string_view key : keys) {
    if (!text.empty()) text += " or ";
    text += key;
  }
  return text;
}

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

[[noreturn]] void fail(ModelConfig::Keys keys, std::string found, std::string expected) {
  throw ValidationError({.where = "config.json, " + joined(keys),
                         .found = std::move(found),
                         .expected = std::move(expected),
                         .remedy = {}});
}

const Json* object_member(const Json& object, std::string_view key) {
  const Json* value = find_member(object, key);
  return value != nullptr && value->is_object() ? value : nullptr;
}

void set_default(Json& object, const char* key, const Json& value) {
  if (!object.contains(key)) object[key] = value;
}

void move_key(Json& object, const char* from, const char* to) {
  const auto found = object.find(from);
  if (found == object.end()) return;
  Json value = *found;
  object.erase(found);
  object[to] = std::move(value);
}

bool scales_a_pretrained_length(const Json& rope) {
  const Json* type = find_member(rope, "rope_type");
  return type != nullptr && (*type == "llama3" || *type == "yarn" || *type == "longrope");
}

Json take(Json& values, const char* key) {
  const auto found = values.find(key);
  if (found == values.end()) return nullptr;
  Json value = *found;
  values.erase(found);
  return value;
}

// Type, base and pretraining length of one rotary object (transformers: standardize_rope_params).
// `length` is the pretraining length of classes that have it at the top level, or null.
void complete_rope(Json& rope, const Json& theta, const Json& partial, const Json& values,
                   const Json& length) {
  set_default(rope, "rope_type", rope.value("type", Json("default")));
  set_default(rope, "rope_theta", theta);
  if (!partial.is_null()) set_default(rope, "partial_rotary_factor", partial);
  if (!scales_a_pretrained_length(rope)) return;
  if (!length.is_null()) {
    rope["original_max_position_embeddings"] = length;
  } else if (const Json* context = find_member(values, "max_position_embeddings")) {
    set_default(rope, "original_max_position_embeddings", *context);
  }
}

// Sliding and full attention with settings of their own (Gemma 3).
Json split_rope(Json rope, const Json& scaling, Json& values, const ConfigDefaults& defaults) {
  for (const char* kind : {"full_attention", "sliding_attention"}) {
    if (object_member(rope, kind) == nullptr) rope[kind] = Json{{"rope_type", "default"}};
  }
  if (scaling.is_object()) rope["full_attention"].update(scaling);
  const Json theta = take(values, "rope_theta");
  const Json local = take(values, "rope_local_base_freq");
  complete_rope(rope["full_attention"], theta.is_null() ? Json(defaults.rope_theta) : theta,
                nullptr, values, nullptr);
  complete_rope(rope["sliding_attention"],
                local.is_null() ? Json(defaults.local_rope_theta) : local, nullptr, values,
                nullptr);
  return rope;
}

// What the configuration class makes of rope_theta, rope_scaling and rope_parameters.
Json merged_rope(Json& values, const ConfigDefaults& defaults) {
  const Json scaling = take(values, "rope_scaling");
  Json rope = take(values, "rope_parameters");
  if (!rope.is_object()) rope = Json::object();
  if (defaults.local_rope_theta != 0) return split_rope(rope, scaling, values, defaults);
  if (scaling.is_object() && !scaling.empty()) rope = scaling;
  Json theta = take(values, "rope_theta");
  if (theta.is_null()) theta = defaults.rope_theta;
  Json partial = take(values, "partial_rotary_factor");
  if (partial.is_null() && defaults.partial_rotary_factor != 0) {
    partial = defaults.partial_rotary_factor;
  }
  Json length;
  if (defaults.values.find("original_max_position_embeddings") != std::string_view::npos) {
    length = values.value("original_max_position_embeddings", Json());
  }
  bool nested = false;
  for (const char* kind : {"full_attention", "sliding_attention"}) {
    if (object_member(rope, kind) == nullptr) continue;
    complete_rope(rope[kind], theta, partial, values, nullptr);
    nested = true;
  }
  if (!nested) complete_rope(rope, theta, partial, values, length);
  return rope;
}

// The converter's own completion, for whatever the configuration class left open.
Json mirrored_rope(const ModelConfig& values, Json rope) {
  if (!rope.is_object()) rope = Json::object();
  if (rope.contains("full_attention") || rope.contains("sliding_attention")) return rope;
  const Json* local = values.find({"local_rope_theta", "rope_local_theta", "rope_theta_local",
                                   "swa_rope_theta", "rope_local_base_freq"});
  if (local != nullptr) rope["sliding_attention"] = Json{{"rope_theta", *local}};
  if (const Json* theta = values.find({"global_rope_theta", "rope_global_theta",
                                       "rope_theta_global", "rope_theta", "rotary_emb_base"})) {
    set_default(rope, "rope_theta", *theta);
  }
  if (const Json* type = find_member(rope, "type"); type != nullptr && !type->is_null()) {
    set_default(rope, "rope_type", *type);
  }
  if (const Json* part = values.find({"partial_rotary_factor", "rope_pct", "rope_percent"})) {
    set_default(rope, "partial_rotary_factor", *part);
  }
  if (const Json* length = values.find({"original_max_position_embeddings"})) {
    set_default(rope, "original_max_position_embeddings", *length);
  }
  return rope;
}

void apply_defaults(Json& values, const ConfigDefaults& defaults) {
  Json known = Json::parse(defaults.values);
  if (const auto aliases = known.find("$aliases"); aliases != known.end()) {
    for (const auto& [from, to] : aliases->items()) {
      move_key(values, from.c_str(), to.get<std::string>().c_str());
    }
    known.erase(aliases);
  }
  for (const auto& [key, value] : known.items()) set_default(values, key.c_str(), value);
  const ModelConfig typed{values};
  if (defaults.kv_heads_from_heads && !typed.has("num_key_value_heads") &&
      typed.has("num_attention_heads")) {
    values["num_key_value_heads"] = values["num_attention_heads"];
  }
  if (defaults.head_dim_from_width && !typed.has("head_dim")) {
    values["head_dim"] = typed.hidden_size() / typed.heads();
  }
}

}  // namespace

ModelConfig::ModelConfig() : ModelConfig(Json::object()) {}

ModelConfig::ModelConfig(Json values) : values_(std::make_shared<const Json>(std::move(values))) {}

const Json* ModelConfig::find(Keys keys) const {
  for (const std::string_view key : keys) {
    const Json* value = find_member(*values_, key);
    if (value != nullptr) return value->is_null() ? nullptr : value;
  }
  return nullptr;
}

std::optional<std::uint64_t> ModelConfig::find_count(Keys keys) const {
  const Json* value = find(keys);
  if (value == nullptr) return std::nullopt;
  const bool whole = value->is_number_unsigned() ||
                     (value->is_number_integer() && value->get<std::int64_t>() >= 0);
  if (!whole || value->get<std::uint64_t>() > kMaxCount) {
    fail(keys, shown(*value), fmt::format("a whole number from 0 to {}", kMaxCount));
  }
  return value->get<std::uint64_t>();
}

std::uint64_t ModelConfig::count(Keys keys) const {
  const auto value = find_count(keys);
  if (!value) fail(keys, "no such key", "a whole number");
  return *value;
}

std::uint64_t ModelConfig::size(Keys keys) const {
  const std::uint64_t value = count(keys);
  if (value == 0) fail(keys, "0", "at least 1");
  return value;
}

std::optional<double> ModelConfig::find_number(Keys keys) const {
  const Json* value = find(keys);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) fail(keys, shown(*value), "a number");
  const double number = value->get<double>();
  if (!(std::abs(number) <= static_cast<double>(std::numeric_limits<float>::max()))) {
    fail(keys, shown(*value), "a number within the range of single precision");
  }
  return number;
}

double ModelConfig::number(Keys keys) const {
  const auto value = find_number(keys);
  if (!value) fail(keys, "no such key", "a number");
  return *value;
}

std::optional<std::string> ModelConfig::find_text(Keys keys) const {
  const Json* value = find(keys);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) fail(keys, shown(*value), "a string");
  return value->get<std::string>();
}

bool ModelConfig::flag(std::string_view key, bool fallback) const {
  const Json* value = find({key});
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) fail({key}, shown(*value), "true or false");
  return value->get<bool>();
}

std::uint64_t ModelConfig::layers() const {
  return size({"n_layers", "num_hidden_layers", "n_layer", "num_layers"});
}

std::uint64_t ModelConfig::hidden_size() const { return size({"hidden_size", "n_embd", "dim"}); }

std::uint64_t ModelConfig::heads() const {
  return size({"num_attention_heads", "n_head", "n_heads"});
}

std::uint64_t ModelConfig::kv_heads() const {
  const Keys keys = {"num_key_value_heads", "n_kv_heads", "n_head_kv"};
  return find(keys) == nullptr ? heads() : size(keys);
}

std::uint64_t ModelConfig::head_dim() const {
  return has("head_dim") ? size({"head_dim"}) : hidden_size() / heads();
}

std::uint64_t ModelConfig::experts() const {
  return size({"num_local_experts", "num_experts", "n_routed_experts"});
}

const Json* text_config_of(const Json& config) {
  if (const Json* lfm = object_member(config, "lfm")) return lfm;
  if (const Json* language = object_member(config, "language_config")) return language;
  if (const Json* thinker = object_member(config, "thinker_config")) {
    return object_member(*thinker, "text_config");
  }
  for (const char* key : {"lm_config", "llm_config", "text_config"}) {
    if (const Json* text = object_member(config, key)) return text;
  }
  return nullptr;
}

std::string model_class_of(const Json& config) {
  const auto first_of = [](const Json* object) -> std::optional<std::string> {
    if (object == nullptr) return std::nullopt;
    const Json* classes = find_member(*object, "architectures");
    if (classes == nullptr || !classes->is_array() || classes->empty()) return std::nullopt;
    const Json& name = classes->front();
    if (!name.is_string()) fail({"architectures"}, shown(name), "a class name");
    return name.get<std::string>();
  };
  if (auto name = first_of(text_config_of(config))) return *name;
  if (auto name = first_of(&config)) return *name;
  fail({"architectures"}, "no class name", R"(a list such as ["LlamaForCausalLM"])");
}

LoadedConfig load_config(const Json& config, const ConfigDefaults* defaults) {
  if (!config.is_object()) {
    throw ValidationError({.where = "config.json",
                           .found = config.is_null() ? "no object" : shown(config),
                           .expected = "an object",
                           .remedy = {}});
  }
  Json values = config;
  if (const Json* text = text_config_of(config)) values.update(*text);
  Json rope;
  if (defaults != nullptr) {
    apply_defaults(values, *defaults);
    if (defaults->rope_theta != 0) rope = merged_rope(values, *defaults);
  }
  if (rope.is_null()) {
    const Json* given = find_member(values, "rope_parameters");
    if (given == nullptr) given = find_member(values, "rope_scaling");
    if (given != nullptr) rope = *given;
  }
  LoadedConfig loaded{ModelConfig(std::move(values)), ModelConfig(), ModelConfig()};
  Json merged = mirrored_rope(loaded.values, std::move(rope));
  const Json* full = object_member(merged, "full_attention");
  loaded.full_rope = ModelConfig(full != nullptr ? *full : merged);
  loaded.rope = ModelConfig(std::move(merged));
  return loaded;
}

}  // namespace qwodel
