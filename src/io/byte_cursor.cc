#include "io/byte_cursor.h"

#include <fmt/format.h>

#include "qwodel/error.h"

namespace qwodel {

std::span<const std::byte> ByteCursor::take(std::uint64_t count, std::string_view what) {
  if (count > remaining()) {
    throw ValidationError(
        {.where = source_,
         .found = fmt::format("{} bytes left at offset {}", remaining(), at_),
         .expected = fmt::format("{} bytes for {}", count, what),
         .remedy = "the file is truncated or damaged: download or write it again"});
  }
  const auto part = bytes_.subspan(at_, static_cast<std::size_t>(count));
  at_ += part.size();
  return part;
}

std::string ByteCursor::text(std::uint64_t count, std::string_view what) {
  const auto part = take(count, what);
  return std::string(reinterpret_cast<const char*>(part.data()), part.size());
}

}  // namespace qwodel
