// The front matter of a model card: the YAML between "---" lines at the start of README.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace qwodel {

// A YAML value. Values nested deeper than a model card needs are null.
struct CardValue {
  enum class Kind : std::uint8_t {
    null,
    text,
    scalar,  // a number, truth value or date by YAML 1.1; `text` is as written
    list,
    map,
  };

  Kind kind = Kind::null;
  std::string text;
  std::vector<CardValue> items;   // of a list; the values of a map
  std::vector<std::string> keys;  // of a map, one per item

  // The value of a map (the last of several with one key), or nullptr.
  const CardValue* find(std::string_view key) const;
};

// The front matter as a map. No README.md, no front matter, YAML that does not parse or that grows
// beyond a few megabytes (aliases): an empty map.
CardValue load_model_card(const std::filesystem::path& directory);

}  // namespace qwodel
