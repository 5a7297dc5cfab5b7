// The name of a JSON document, for headers: the library's own takes two seconds to compile.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace qwodel {

// Object members are sorted by key; where the order of a file matters, the file says so otherwise.
using Json = nlohmann::json;

}  // namespace qwodel
