#include "formats/safetensors_writer.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/checked.h"
#include "formats/tensor_info.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

[[noreturn]] void fail(const SafetensorsEntry& entry, std::string found) {
  throw ValidationError({.where = fmt::format("tensor \"{}\"", entry.name),
                         .found = std::move(found),
                         .expected = "a tensor that safetensors can hold",
                         .remedy = ""});
}

}  // namespace

std::uint64_t byte_size(const SafetensorsEntry& entry) {
  const auto count = checked_product(entry.shape);
  const auto bytes = count ? bytes_of(entry.type, *count) : std::nullopt;
  if (!bytes) fail(entry, "shape " + shape_text(entry.shape));
  return *bytes;
}

SafetensorsLayout lay_out_safetensors(const std::vector<SafetensorsEntry>& entries) {
  nlohmann::ordered_json header = {{"__metadata__", {{"format", "pt"}}}};
  SafetensorsLayout layout;
  std::uint64_t end = 0;
  for (const SafetensorsEntry& entry : entries) {
    const std::string_view type = info(entry.type).safetensors_name;
    if (type.empty()) fail(entry, fmt::format("type {}", info(entry.type).name));
    layout.offsets.push_back(end);
    const auto next = checked_add(end, byte_size(entry));
    if (!next) fail(entry, "more data than 64 bits can count");
    header[entry.name] = {{"dtype", type}, {"shape", entry.shape}, {"data_offsets", {end, *next}}};
    end = *next;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t size = text.size();
  for (unsigned byte = 0; byte < 8; ++byte) {
    layout.header.push_back(static_cast<char>(size >> (8 * byte) & 0xff));
  }
  layout.header += text;
  for (std::uint64_t& offset : layout.offsets) offset += layout.header.size();
  layout.file_size = layout.header.size() + end;
  return layout;
}

}  // namespace qwodel
