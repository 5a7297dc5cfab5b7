#include "targets/group_formats.h"

#include <fmt/format.h>

namespace qwodel {

std::optional<std::uint64_t> parse_group_size(std::string_view text) {
  for (const std::uint64_t size : kGroupSizes) {
    if (text == fmt::format("g{}", size)) return size;
  }
  return std::nullopt;
}

double group_bits_per_weight(const GroupIntScheme& scheme) {
  if (scheme.group_size == 0) return scheme.bits;
  const unsigned zero = scheme.symmetric ? 0 : scheme.bits;
  return scheme.bits + (16.0 + zero) / static_cast<double>(scheme.group_size);
}

}  // namespace qwodel
