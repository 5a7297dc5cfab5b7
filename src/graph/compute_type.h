#pragma once

#include <cstdint>

namespace qwodel {

// Precision of matrix products; everything else is single precision.
enum class ComputeType : std::uint8_t {
  automatic,  // bf16 where the machine has it in hardware, else f32
  f32,
  bf16,
};

// What automatic comes to on this machine; others stay.
ComputeType resolved(ComputeType compute);

}  // namespace qwodel
