// The points of the IQ2 and IQ3 codebooks: what a decoder needs of them.
#pragma once

#include <array>
#include <cstdint>

namespace qwodel {

// Eight levels of two bits (values 0 ... 2) each, the first lowest.
extern const std::array<std::uint16_t, 256> kIq2XxsPoints;
extern const std::array<std::uint16_t, 512> kIq2XsPoints;
extern const std::array<std::uint16_t, 1024> kIq2SPoints;

// Four levels of three bits each, the first lowest.
extern const std::array<std::uint16_t, 256> kIq3XxsPoints;
extern const std::array<std::uint16_t, 512> kIq3SPoints;

}  // namespace qwodel
