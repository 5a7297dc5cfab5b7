#include "targets/linear_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "targets/word_packing.h"

namespace qwodel {
namespace {

struct Row {
  std::string_view backend;
  const LinearFormat& (*format)();
};

constexpr std::array kFormats = {
    Row{"awq", awq_format},
    Row{"gptq", gptq_format},
    Row{"ct", compressed_tensors_format},
};

// What to do about an extent that `divisor` does not divide.
std::string remedy_for(std::uint64_t extent, std::uint64_t divisor) {
  for (const std::uint64_t group_size : {64u, 32u}) {
    if (group_size < divisor && extent % group_size == 0) {
      return fmt::format("choose a smaller group size, such as g{}, or another target", group_size);
    }
  }
  return "no group size of this target fits; choose another, such as gguf:Q4_K_M";
}

}  // namespace

const LinearFormat& linear_format(std::string_view backend) {
  return std::ranges::find(kFormats, backend, &Row::backend)->format();
}

void require_multiple(std::string_view base, std::string_view what, std::uint64_t extent,
                      std::uint64_t divisor) {
  if (divisor != 0 && extent % divisor == 0) return;
  throw FormatNotSupportedError({.where = std::string(base),
                                 .found = fmt::format("{} {}", what, extent),
                                 .expected = fmt::format("a multiple of {}", divisor),
                                 .remedy = remedy_for(extent, divisor)});
}

}  // namespace qwodel
