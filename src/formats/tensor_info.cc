#include "formats/tensor_info.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace qwodel {

std::string shape_text(const std::vector<std::uint64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace qwodel
