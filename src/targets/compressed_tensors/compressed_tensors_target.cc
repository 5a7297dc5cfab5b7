#include "targets/compressed_tensors/compressed_tensors_target.h"

#include <fmt/format.h>

#include <string_view>

#include "qwodel/error.h"
#include "targets/group_formats.h"

namespace qwodel {
namespace {

constexpr std::string_view kAsymmetric = "_ASYM";
constexpr std::string_view kFloat = "FP8";

// W8A16 has one scale per row, as the preset of that name in compressed-tensors; other widths have
// groups of 128.
GroupIntScheme scheme_of(unsigned bits, bool symmetric) {
  return {.bits = bits,
          .group_size = bits == 8 ? 0u : 128u,
          .symmetric = symmetric,
          .scale_format = ScaleFormat::half};
}

std::string name_of(const GroupIntScheme& scheme) {
  if (scheme.codes == CodeKind::float8) return std::string(kFloat);
  return fmt::format("W{}A16{}", scheme.bits, scheme.symmetric ? "" : kAsymmetric);
}

// 8-bit floats with one scale per row.
GroupIntScheme float_scheme() {
  return {.bits = 8,
          .group_size = 0,
          .symmetric = true,
          .scale_format = ScaleFormat::bfloat16,
          .codes = CodeKind::float8};
}

// "W4A16", "W4A16_ASYM", "W4A16-g64", "FP8".
std::optional<GroupIntScheme> parse(std::string_view text) {
  if (text == kFloat) return float_scheme();
  for (unsigned bits = 2; bits <= 8; ++bits) {
    for (const bool symmetric : {true, false}) {
      GroupIntScheme scheme = scheme_of(bits, symmetric);
      const std::string name = name_of(scheme);
      if (text == name) return scheme;
      if (!text.starts_with(name + "-")) continue;
      const auto size = parse_group_size(text.substr(name.size() + 1));
      if (!size) return std::nullopt;
      scheme.group_size = *size;
      return scheme;
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<Format> compressed_tensors_formats() {
  std::vector<Format> all;
  const auto add = [&](unsigned bits, bool symmetric) {
    const GroupIntScheme scheme = scheme_of(bits, symmetric);
    all.push_back({name_of(scheme),
                   fmt::format("pack-quantized, {}{}", symmetric ? "symmetric" : "with zero points",
                               scheme.group_size == 0 ? ", one scale per row" : ", groups of 128"),
                   group_bits_per_weight(scheme)});
  };
  add(4, true);
  add(4, false);
  for (const unsigned bits : {8u, 6u, 5u, 3u, 2u}) add(bits, true);
  all.push_back({std::string(kFloat), "float-quantized, E4M3 with one scale per row",
                 group_bits_per_weight(float_scheme())});
  return all;
}

Target parse_compressed_tensors_format(const std::string& format) {
  const auto scheme = parse(format);
  if (!scheme) refuse_format(format, "W4A16, W4A16_ASYM, W8A16, W6A16, W5A16, W3A16, W2A16 or FP8");
  return {.backend = {}, .name = name_of(*scheme), .file_type = {}, .linears = scheme};
}

}  // namespace qwodel
