#include "targets/awq/awq_target.h"

#include <fmt/format.h>

#include "targets/group_formats.h"

namespace qwodel {
namespace {

GroupIntScheme scheme_of(std::uint64_t group_size) {
  return {
      .bits = 4, .group_size = group_size, .symmetric = false, .scale_format = ScaleFormat::half};
}

}  // namespace

std::vector<Format> awq_formats() {
  std::vector<Format> all;
  for (const std::uint64_t size : {128u, 64u, 32u}) {
    all.push_back({fmt::format("g{}", size),
                   fmt::format("W4A16, groups of {} with zero points, GEMM layout", size),
                   group_bits_per_weight(scheme_of(size))});
  }
  return all;
}

Target parse_awq_format(const std::string& format) {
  const auto size = format == "W4A16" || format == "int4" ? std::optional<std::uint64_t>(128)
                                                          : parse_group_size(format);
  if (!size) refuse_format(format, "g128, g64 or g32");
  return {.backend = {}, .name = "AWQ", .file_type = {}, .linears = scheme_of(*size)};
}

}  // namespace qwodel
