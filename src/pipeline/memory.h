// How much memory the process uses.
#pragma once

#include <cstdint>

namespace qwodel {

// Peak resident memory of the process in bytes. Pages of mapped checkpoint files count while they
// are mapped in, which the pipeline keeps short.
std::uint64_t peak_memory();

// Resident memory of the process now, in bytes.
std::uint64_t resident_memory();

}  // namespace qwodel
