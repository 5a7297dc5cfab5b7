// The key-value section of a GGUF file.
#pragma once

#include <cstdint>

#include "formats/gguf_value.h"
#include "io/byte_cursor.h"

namespace qwodel {

// Reads `count` keys with their values. Throws ValidationError: an empty or repeated key, an
// unknown type, an array of arrays, a length beyond the file or beyond ggml's limits.
GgufMetadata read_gguf_metadata(ByteCursor& cursor, std::uint64_t count);

}  // namespace qwodel
