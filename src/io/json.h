// JSON documents from files: parsed strictly, with bounds.
#pragma once

#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "io/json_fwd.h"

namespace qwodel {

// Parses UTF-8 text; `source` names it in errors. Rejects duplicate keys of one object and nesting
// deeper than 128. Throws ValidationError. A NaN or Infinity literal (Python writes them) is an
// error like any other syntax error.
Json parse_json(std::string_view text, const std::string& source);

// Reads and parses a file of at most `max_bytes`. Throws DependencyError when it cannot be read.
Json read_json(const std::filesystem::path& path, std::size_t max_bytes = std::size_t{1} << 30);

// The member of an object, or nullptr when there is none (or `object` is not an object).
const Json* find_member(const Json& object, std::string_view key);

}  // namespace qwodel
