// Members of JSON objects with a fallback for what is missing or of another type.
#pragma once

#include <string>
#include <string_view>

#include "io/json.h"

namespace qwodel {

inline std::string text_member(const Json& object, std::string_view key) {
  const Json* value = find_member(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

inline bool flag_member(const Json& object, std::string_view key, bool fallback) {
  const Json* value = find_member(object, key);
  return value != nullptr && value->is_boolean() ? value->get<bool>() : fallback;
}

}  // namespace qwodel
