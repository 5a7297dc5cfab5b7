#include "targets/gptq/gptq_target.h"

#include <fmt/format.h>

#include <array>

#include "targets/group_formats.h"

namespace qwodel {
namespace {

constexpr std::array kWidths = {4u, 8u, 3u, 2u};

GroupIntScheme scheme_of(unsigned bits, std::uint64_t group_size) {
  return {
      .bits = bits, .group_size = group_size, .symmetric = true, .scale_format = ScaleFormat::half};
}

// "4bit", "4bit-g64", "4bit-g64-asym".
std::optional<GroupIntScheme> parse(std::string_view text) {
  for (const unsigned bits : kWidths) {
    for (const std::uint64_t size : kGroupSizes) {
      GroupIntScheme scheme = scheme_of(bits, size);
      const std::string name = fmt::format("{}bit-g{}", bits, size);
      if (text == name || (size == 128 && text == name.substr(0, 4))) return scheme;
      scheme.symmetric = false;
      if (text == name + "-asym") return scheme;
    }
    if (text == fmt::format("int{}", bits)) return scheme_of(bits, 128);
  }
  return std::nullopt;
}

}  // namespace

std::vector<Format> gptq_formats() {
  std::vector<Format> all;
  for (const unsigned bits : kWidths) {
    all.push_back({fmt::format("{}bit-g128", bits),
                   fmt::format("W{}A16, symmetric groups of 128 (also g64, g32; -asym)", bits),
                   group_bits_per_weight(scheme_of(bits, 128))});
  }
  return all;
}

Target parse_gptq_format(const std::string& format) {
  const auto scheme = parse(format);
  if (!scheme) refuse_format(format, "4bit, 8bit, 3bit or 2bit, with -g128, -g64 or -g32");
  return {.backend = {},
          .name = fmt::format("GPTQ-Int{}", scheme->bits),
          .file_type = {},
          .linears = scheme};
}

}  // namespace qwodel
