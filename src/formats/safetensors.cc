#include "formats/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "core/checked.h"
#include "io/byte_cursor.h"
#include "io/json.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the reference reader's own cap
constexpr std::size_t kMaxRank = 32;

// Element types of the format that no codec here decodes.
constexpr std::array<std::string_view, 6> kUndecodedTypes = {"F4",      "F6_E2M3", "F6_E3M2",
                                                             "F8_E8M0", "C64",     "C128"};

struct Entry {
  TensorInfo tensor;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

[[noreturn]] void fail(std::string where, std::string found, std::string expected,
                       std::string remedy = "the file is damaged: download or write it again") {
  throw ValidationError({.where = std::move(where),
                         .found = std::move(found),
                         .expected = std::move(expected),
                         .remedy = std::move(remedy)});
}

TensorType parse_type(const Json* value, const std::string& where) {
  if (value == nullptr || !value->is_string()) fail(where, "no dtype", "a dtype string");
  const auto& name = value->get_ref<const std::string&>();
  if (const auto type = tensor_type_from_safetensors(name)) return *type;
  if (std::ranges::find(kUndecodedTypes, name) != kUndecodedTypes.end()) {
    throw FormatNotSupportedError({.where = where,
                                   .found = fmt::format("element type {}", name),
                                   .expected = "a float, integer or 8-bit float type",
                                   .remedy = "use a checkpoint in bf16, f16, f32 or fp8"});
  }
  fail(where, fmt::format("dtype \"{}\"", name), "a safetensors dtype");
}

std::vector<std::uint64_t> parse_sizes(const Json* value, std::string_view what,
                                       const std::string& where) {
  if (value == nullptr || !value->is_array()) {
    fail(where, fmt::format("no {}", what), "an array of sizes");
  }
  std::vector<std::uint64_t> sizes;
  sizes.reserve(value->size());
  for (const Json& size : *value) {
    if (!size.is_number_unsigned()) {
      fail(where, fmt::format("{} {}", what, size.dump()), "whole numbers from 0");
    }
    sizes.push_back(size.get<std::uint64_t>());
  }
  return sizes;
}

Entry parse_entry(const std::string& name, const Json& value, const std::string& file) {
  const std::string where = fmt::format("{}: tensor \"{}\"", file, name);
  if (!value.is_object()) fail(where, "no object", "dtype, shape and data_offsets");
  Entry entry;
  entry.tensor.name = name;
  entry.tensor.type = parse_type(find_member(value, "dtype"), where);
  entry.tensor.shape = parse_sizes(find_member(value, "shape"), "shape", where);
  if (entry.tensor.shape.size() > kMaxRank) {
    fail(where, fmt::format("{} dimensions", entry.tensor.shape.size()),
         fmt::format("at most {}", kMaxRank));
  }
  const auto offsets = parse_sizes(find_member(value, "data_offsets"), "data_offsets", where);
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    fail(where, "data_offsets that are no range", "[begin, end]");
  }
  entry.begin = offsets[0];
  entry.end = offsets[1];
  const auto count = checked_product(entry.tensor.shape);
  const auto bytes = count ? bytes_of(entry.tensor.type, *count) : std::nullopt;
  if (!bytes) fail(where, "shape " + shape_text(entry.tensor.shape), "a size of 64 bits");
  if (*bytes != entry.end - entry.begin) {
    fail(where, fmt::format("{} bytes of data", entry.end - entry.begin),
         fmt::format("{} for shape {}", *bytes, shape_text(entry.tensor.shape)));
  }
  return entry;
}

void check_metadata(const Json& metadata, const std::string& file) {
  const auto is_text = [](const Json& value) { return value.is_string(); };
  if (!metadata.is_object() || !std::ranges::all_of(metadata, is_text)) {
    fail(file, "__metadata__ that is no map of strings", "strings only");
  }
}

// Sorts by position and sets the spans.
void place(std::vector<Entry>& entries, std::span<const std::byte> data, const std::string& file) {
  std::ranges::sort(entries, [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t at = 0;
  for (Entry& entry : entries) {
    if (entry.begin != at) {
      fail(fmt::format("{}: tensor \"{}\"", file, entry.tensor.name),
           fmt::format("data at offset {}", entry.begin),
           fmt::format("{} (tensors follow each other without {})", at,
                       entry.begin > at ? "gaps" : "overlap"));
    }
    if (entry.end > data.size()) {
      fail(fmt::format("{}: tensor \"{}\"", file, entry.tensor.name),
           fmt::format("data up to offset {}", entry.end),
           fmt::format("at most the {} bytes in the file", data.size()),
           "the file is truncated: download or write it again");
    }
    entry.tensor.bytes = data.subspan(entry.begin, entry.end - entry.begin);
    at = entry.end;
  }
  if (at != data.size()) {
    fail(file, fmt::format("{} bytes behind the last tensor", data.size() - at), "none");
  }
}

}  // namespace

std::vector<TensorInfo> read_safetensors(const MappedFile& file) {
  ByteCursor cursor(file.bytes(), file.path().string());
  const auto header_size = cursor.read<std::uint64_t>("the header size");
  if (header_size > kMaxHeaderBytes) {
    fail(cursor.source(), fmt::format("a header of {} bytes", header_size),
         fmt::format("at most {}", kMaxHeaderBytes), "check that this is a safetensors file");
  }
  const std::string text = cursor.text(header_size, "the header");
  if (!text.starts_with('{')) fail(cursor.source(), "a header that is no JSON object", "\"{\"");
  const Json header = parse_json(text, cursor.source());
  std::vector<Entry> entries;
  entries.reserve(header.size());
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      check_metadata(value, cursor.source());
    } else {
      entries.push_back(parse_entry(name, value, cursor.source()));
    }
  }
  place(entries, cursor.take(cursor.remaining(), "the data"), cursor.source());
  std::vector<TensorInfo> tensors;
  tensors.reserve(entries.size());
  for (Entry& entry : entries) tensors.push_back(std::move(entry.tensor));
  std::ranges::sort(tensors, {}, &TensorInfo::name);
  return tensors;
}

}  // namespace qwodel
