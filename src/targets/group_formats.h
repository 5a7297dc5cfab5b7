// What the formats of group-quantized artifacts have in common.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "codecs/group_int.h"

namespace qwodel {

// Group sizes that every consumer has a kernel for.
inline constexpr std::array<std::uint64_t, 3> kGroupSizes = {32, 64, 128};

// The N of "gN" when it is one of kGroupSizes.
std::optional<std::uint64_t> parse_group_size(std::string_view text);

// Stored bits per weight: codes, a 16-bit scale per group and, when asymmetric, a zero point.
double group_bits_per_weight(const GroupIntScheme& scheme);

}  // namespace qwodel
