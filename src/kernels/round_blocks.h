// Blocks of 32 values without a search: the scale follows from the extremes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qwodel {

// Per block: half scale = max |x| / 127, then 32 signed bytes round(x / scale), halves away from
// zero. `out` holds 34 bytes per block (Q8_0).
void round_to_bytes(const float* values, std::size_t blocks, std::byte* out);

// The inverse: scale * byte.
void bytes_to_floats(const std::byte* in, std::size_t blocks, float* values);

}  // namespace qwodel
