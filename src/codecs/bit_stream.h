// Codes of 1 to 8 bits as one stream: code i lies in bits [i * bits, (i + 1) * bits), bit 0 of byte
// 0 first. What Core ML's weight files hold of values that are no whole bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace qwodel {

// The low `bits` bits of every code; unused bits of the last byte are 0.
std::vector<std::byte> pack_bits(std::span<const std::uint8_t> codes, unsigned bits);

// The first `count` codes of a stream. REQUIRES: the bytes hold them.
std::vector<std::uint8_t> unpack_bits(std::span<const std::byte> bytes, unsigned bits,
                                      std::size_t count);

}  // namespace qwodel
