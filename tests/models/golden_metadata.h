// Metadata as the golden files of tools/golden write it.
#pragma once

#include <fmt/format.h>

#include <bit>
#include <span>

#include "formats/gguf_value.h"
#include "io/json.h"

namespace qwodel {

// The bytes of a float in little-endian order, as hexadecimal digits.
inline std::string float_bytes(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return fmt::format("{:02x}{:02x}{:02x}{:02x}", bits & 255, (bits >> 8) & 255, (bits >> 16) & 255,
                     bits >> 24);
}

inline Json array_json(const GgufArray& array) {
  if (const auto* ids = std::get_if<std::vector<std::int32_t>>(&array))
    return {"ARRAY/INT32", *ids};
  if (const auto* texts = std::get_if<std::vector<std::string>>(&array)) {
    return {"ARRAY/STRING", *texts};
  }
  if (const auto* flags = std::get_if<std::vector<GgufBool>>(&array)) {
    Json list = Json::array();
    for (const GgufBool flag : *flags) list.push_back(flag.value);
    return {"ARRAY/BOOL", list};
  }
  return {"ARRAY/?", nullptr};
}

// [type, value]
inline Json value_json(const GgufValue& value) {
  if (const auto* count = std::get_if<std::uint32_t>(&value)) return {"UINT32", *count};
  if (const auto* number = std::get_if<float>(&value)) return {"FLOAT32", float_bytes(*number)};
  if (const auto* flag = std::get_if<GgufBool>(&value)) return {"BOOL", flag->value};
  if (const auto* text = std::get_if<std::string>(&value)) return {"STRING", *text};
  if (const auto* array = std::get_if<GgufArray>(&value)) return array_json(*array);
  return {"?", nullptr};
}

// [key, type, value] of every entry that is not general.*, and of those general keys that describe
// the model's structure.
inline Json metadata_json(const GgufMetadata& metadata) {
  Json list = Json::array();
  for (const auto& [key, value] : metadata.entries()) {
    if (key.starts_with("general.") && key != "general.architecture" &&
        key != "general.file_type" && key != "general.quantization_version") {
      continue;
    }
    const Json typed = value_json(value);
    list.push_back({key, typed[0], typed[1]});
  }
  return list;
}

}  // namespace qwodel
