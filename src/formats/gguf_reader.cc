#include "formats/gguf_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <string_view>
#include <type_traits>
#include <unordered_set>

#include "core/checked.h"
#include "formats/gguf_metadata_reader.h"
#include "io/byte_cursor.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::string_view kDamaged = "the file is damaged: download or write it again";
constexpr std::uint64_t kDefaultAlignment = 32;
constexpr std::uint32_t kMaxDimensions = 4;          // GGML_MAX_DIMS
constexpr std::uint64_t kMaxNameBytes = 63;          // GGML_MAX_NAME less the final NUL
constexpr std::uint64_t kInfoBytes = 8 + 4 + 4 + 8;  // of a tensor without name and dimensions

// The containers llama.cpp used before GGUF, as their first four bytes read on disk.
constexpr std::array<std::string_view, 4> kOldMagics = {"lmgg", "fmgg", "tjgg", "algg"};

struct Place {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

[[noreturn]] void fail(std::string where, std::string found, std::string expected) {
  throw ValidationError({.where = std::move(where),
                         .found = std::move(found),
                         .expected = std::move(expected),
                         .remedy = std::string(kDamaged)});
}

[[noreturn]] void refuse(std::string where, std::string found, std::string expected,
                         std::string remedy) {
  throw FormatNotSupportedError({.where = std::move(where),
                                 .found = std::move(found),
                                 .expected = std::move(expected),
                                 .remedy = std::move(remedy)});
}

std::uint32_t read_version(ByteCursor& cursor) {
  const std::string magic = cursor.text(4, "the magic");
  if (std::ranges::find(kOldMagics, magic) != kOldMagics.end()) {
    refuse(cursor.source(), "a GGML file from before GGUF", "GGUF version 2 or 3",
           "convert the original model again");
  }
  if (magic != "GGUF") fail(cursor.source(), "no GGUF magic", "\"GGUF\" as the first four bytes");
  const auto version = cursor.read<std::uint32_t>("the version");
  if ((version & 0xFFFFu) == 0) {
    refuse(cursor.source(), "a big-endian file", "little-endian data",
           "convert it with gguf_convert_endian.py of llama.cpp");
  }
  if (version != 2 && version != 3) {
    refuse(cursor.source(), fmt::format("GGUF version {}", version), "version 2 or 3",
           version == 1 ? "convert the original model again" : "");
  }
  return version;
}

std::uint64_t alignment_of(const GgufMetadata& metadata, const std::string& source) {
  const GgufValue* value = metadata.find("general.alignment");
  if (value == nullptr) return kDefaultAlignment;
  const auto* alignment = std::get_if<std::uint32_t>(value);
  if (alignment == nullptr || !std::has_single_bit(*alignment)) {
    fail(source,
         alignment == nullptr ? "general.alignment of another type"
                              : fmt::format("general.alignment {}", *alignment),
         "a power of two as u32");
  }
  return *alignment;
}

TensorInfo read_info(ByteCursor& cursor, Place& place) {
  const auto name_size = cursor.read<std::uint64_t>("the length of a tensor name");
  if (name_size == 0 || name_size > kMaxNameBytes) {
    fail(cursor.source(), fmt::format("a tensor name of {} bytes", name_size),
         fmt::format("1 to {}", kMaxNameBytes));
  }
  TensorInfo tensor;
  tensor.name = cursor.text(name_size, "a tensor name");
  const std::string where = fmt::format("{}: tensor \"{}\"", cursor.source(), tensor.name);
  const auto rank = cursor.read<std::uint32_t>("the number of dimensions");
  if (rank > kMaxDimensions) {
    fail(where, fmt::format("{} dimensions", rank), fmt::format("at most {}", kMaxDimensions));
  }
  tensor.shape.resize(rank);
  // GGUF lists the contiguous dimension first.
  for (std::size_t i = rank; i-- > 0;) tensor.shape[i] = cursor.read<std::uint64_t>("a dimension");
  const auto id = cursor.read<std::uint32_t>("a tensor type");
  const auto type = tensor_type_from_ggml_id(id);
  if (!type) {
    refuse(where, fmt::format("tensor type {}", id), "a type of current llama.cpp",
           "convert the original model again");
  }
  tensor.type = *type;
  place.offset = cursor.read<std::uint64_t>("a data offset");

  const auto count = checked_product(tensor.shape);
  const std::uint64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
  if (row % info(*type).block_size != 0) {
    fail(where, fmt::format("rows of {} values", row),
         fmt::format("a multiple of {} for {}", info(*type).block_size, info(*type).name));
  }
  const auto bytes = count ? bytes_of(*type, *count) : std::nullopt;
  constexpr std::uint64_t kLimit = std::numeric_limits<std::int64_t>::max();
  if (!bytes || *bytes > kLimit || *count > kLimit) {
    fail(where, "shape " + shape_text(tensor.shape), "a size of 63 bits");
  }
  place.bytes = *bytes;
  return tensor;
}

// Sets the spans; checks that every tensor lies in the data, aligned, on bytes of its own.
void place_tensors(GgufFile& file, const std::vector<Place>& places,
                   std::span<const std::byte> data, const std::string& source) {
  const auto where = [&](std::size_t i) {
    return fmt::format("{}: tensor \"{}\"", source, file.tensors[i].name);
  };
  std::vector<std::size_t> order(places.size());
  for (std::size_t i = 0; i < places.size(); ++i) {
    order[i] = i;
    const auto [offset, bytes] = places[i];
    if (offset % file.alignment != 0) {
      fail(where(i), fmt::format("data offset {}", offset),
           fmt::format("a multiple of {}", file.alignment));
    }
    if (offset > data.size() || bytes > data.size() - offset) {
      fail(where(i), fmt::format("{} bytes at data offset {}", bytes, offset),
           fmt::format("at most the {} data bytes in the file", data.size()));
    }
    file.tensors[i].bytes = data.subspan(offset, bytes);
  }
  std::ranges::sort(order, [&](std::size_t a, std::size_t b) {
    return std::pair(places[a].offset, places[a].bytes) <
           std::pair(places[b].offset, places[b].bytes);
  });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const Place& before = places[order[i - 1]];
    if (before.offset + before.bytes > places[order[i]].offset) {
      fail(where(order[i]),
           fmt::format("data that overlaps tensor \"{}\"", file.tensors[order[i - 1]].name),
           "bytes of its own");
    }
  }
}

void read_infos(ByteCursor& cursor, std::uint64_t count, GgufFile& file,
                std::vector<Place>& places) {
  std::unordered_set<std::string> names;
  file.tensors.reserve(count);
  places.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    file.tensors.push_back(read_info(cursor, places.emplace_back()));
    if (!names.insert(file.tensors.back().name).second) {
      fail(cursor.source(), fmt::format("tensor \"{}\" twice", file.tensors.back().name),
           "every tensor once");
    }
  }
}

}  // namespace

GgufFile read_gguf(const MappedFile& mapped) {
  ByteCursor cursor(mapped.bytes(), mapped.path().string());
  GgufFile file;
  file.version = read_version(cursor);
  const auto tensor_count = cursor.read<std::uint64_t>("the number of tensors");
  const auto key_count = cursor.read<std::uint64_t>("the number of keys");
  if (tensor_count > cursor.remaining() / kInfoBytes) {
    fail(cursor.source(), fmt::format("{} tensors", tensor_count),
         fmt::format("at most what {} bytes can describe", cursor.remaining()));
  }
  file.metadata = read_gguf_metadata(cursor, key_count);
  file.alignment = alignment_of(file.metadata, cursor.source());
  std::vector<Place> places;
  read_infos(cursor, tensor_count, file, places);
  const auto start = checked_align(cursor.position(), file.alignment);
  const std::uint64_t size = mapped.bytes().size();
  const auto data =
      start && *start <= size ? mapped.bytes().subspan(*start) : std::span<const std::byte>();
  place_tensors(file, places, data, cursor.source());
  return file;
}

bool looks_like_gguf(const std::filesystem::path& path) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  return bytes.size() >= 4 &&
         std::string_view(reinterpret_cast<const char*>(bytes.data()), 4) == "GGUF";
}

}  // namespace qwodel
