// GGUF metadata values as text for people.
#pragma once

#include <string>

#include "formats/gguf_value.h"

namespace qwodel {

// One line; strings beyond 120 characters and arrays beyond 8 elements are shortened.
std::string value_text(const GgufValue& value);

}  // namespace qwodel
