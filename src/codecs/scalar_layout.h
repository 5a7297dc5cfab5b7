// Encodings in which every value stands alone, seen alike: what methods need that choose scales
// and codes themselves.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/scalar_feedback.h"

namespace qwodel {

// One block of a ScalarRecipe.
struct ScalarBlock {
  std::uint16_t scale = 0;    // half
  std::uint16_t minimum = 0;  // half
  std::array<std::int8_t, 16> scale_codes{};
  std::array<std::uint8_t, 16> minimum_codes{};
  std::array<std::uint8_t, 256> codes{};  // of levels, from the lowest: 0, 1, ...
};

struct ScalarLayout {
  ScalarRecipe recipe;
  std::size_t block_bytes = 0;
  void (*pack)(const ScalarBlock& block, std::byte* out) = nullptr;
};

}  // namespace qwodel
