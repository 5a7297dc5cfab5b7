// compressed-tensors, as llm-compressor writes it (quant_method "compressed-tensors"). Formats:
//
// pack-quantized: integers of 2 to 8 bits
//   BASE.weight_packed      I32 [out, in * bits / 32]   code + 2^(bits-1), along in, lowest bits
//   first BASE.weight_scale       [out, groups] BASE.weight_zero_point  I32 [out * bits / 32,
//   groups]  packed along out; absent when symmetric BASE.weight_shape       [2]: out, in
//   BASE.weight_g_idx       I32 [in]; only where columns were reordered
// 32 codes fill `bits` words; before compressed-tensors 0.16 a word held 32 / bits whole codes.
//
// int-quantized, float-quantized, naive-quantized: 8 bits
//   BASE.weight             I8 or F8_E4M3 [out, in]
//   BASE.weight_scale       per tensor, row, group or block;  BASE.weight_zero_point  or none
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "core/checked.h"
#include "io/json.h"
#include "qwodel/error.h"
#include "sources/grouped.h"
#include "sources/parts.h"
#include "sources/plain.h"
#include "sources/scaled.h"

namespace qwodel {
namespace {

// What the config groups say; which module belongs to which follows from the shapes.
struct Settings {
  std::set<unsigned> bits;
  std::set<std::uint64_t> group_sizes;
  ScaleBlock block;
};

struct PackedParts {
  const TensorInfo* packed = nullptr;
  const TensorInfo* scale = nullptr;
  const TensorInfo* zero = nullptr;
  unsigned bits = 0;
  bool dense = true;  // codes may straddle words
};

class PackedTensor final : public GroupedTensor {
 public:
  PackedTensor(std::string name, std::size_t out, std::size_t in, ColumnGroups column_groups,
               const PackedParts& parts)
      : GroupedTensor(std::move(name), out, in, column_groups), parts_(parts) {}

  std::vector<std::span<const std::byte>> storage(std::uint64_t first,
                                                  std::uint64_t count) const override {
    const std::uint64_t in = std::max<std::uint64_t>(shape()[1], 1);
    const std::uint64_t begin = first / in;
    const std::uint64_t end = (first + count + in - 1) / in;
    const std::uint64_t width = parts_.packed->shape[1] * sizeof(std::uint32_t);
    return {parts_.packed->bytes.subspan(begin * width, (end - begin) * width),
            parts_.scale->bytes};
  }

 protected:
  unsigned bits() const override { return parts_.bits; }

  void unpack(const Tile& tile, std::uint8_t* codes) const override {
    const bool straddle = parts_.dense && 32 % parts_.bits != 0;
    for (std::size_t row = 0; row < tile.rows; ++row, codes += tile.cols) {
      const std::size_t words = (tile.row + row) * parts_.packed->shape[1];
      if (!straddle) {
        unpack_row(words, tile.col, {codes, tile.cols});
        continue;
      }
      for (std::size_t i = 0; i < tile.cols; ++i) {
        codes[i] = static_cast<std::uint8_t>(
            load_code(parts_.packed->bytes, words, 1, bit_of(tile.col + i), parts_.bits));
      }
    }
  }

  void parameters(std::size_t row, std::size_t rows, float* scales, float* zeros) const override {
    const std::size_t count = groups().count;
    const std::size_t width = info(parts_.scale->type).block_bytes;
    number_decoder(parts_.scale->type)(parts_.scale->bytes.data() + row * count * width,
                                       rows * count, scales);
    if (parts_.zero == nullptr) {
      std::fill_n(zeros, rows * count, static_cast<float>(1u << (parts_.bits - 1)));
      return;
    }
    // Codes and zero points carry the same offset, so it cancels.
    for (std::size_t i = 0; i < rows; ++i) {
      for (std::size_t group = 0; group < count; ++group) {
        *zeros++ = static_cast<float>(
            load_code(parts_.zero->bytes, group, count, bit_of(row + i), parts_.bits));
      }
    }
  }

 private:
  // Codes from column `col` of the row whose words begin at `words`; none straddles two words.
  void unpack_row(std::size_t words, std::size_t col, std::span<std::uint8_t> codes) const {
    const std::size_t per_word = 32 / parts_.bits;
    const std::uint32_t mask = (1u << parts_.bits) - 1;
    for (std::size_t i = 0; i < codes.size();) {
      const std::size_t skipped = (col + i) % per_word;
      const std::size_t end = std::min(codes.size(), i + per_word - skipped);
      std::uint32_t word =
          load_word(parts_.packed->bytes, words + (col + i) / per_word) >> (skipped * parts_.bits);
      for (; i < end; ++i, word >>= parts_.bits) {
        codes[i] = static_cast<std::uint8_t>(word & mask);
      }
    }
  }

  std::size_t bit_of(std::size_t position) const {
    if (parts_.dense) return position * parts_.bits;
    const std::size_t per_word = 32 / parts_.bits;
    return position / per_word * 32 + position % per_word * parts_.bits;
  }

  PackedParts parts_;
};

std::uint64_t words_for(std::uint64_t count, unsigned bits, bool dense) {
  const std::uint64_t per_word = 32 / bits;
  return dense ? (count * bits + 31) / 32 : (count + per_word - 1) / per_word;
}

[[noreturn]] void fail_shape(const TensorInfo& part, std::string expected) {
  throw ValidationError(
      {.where = fmt::format("tensor \"{}\"", part.name),
       .found = fmt::format("{} {}", info(part.type).name, shape_text(part.shape)),
       .expected = std::move(expected),
       .remedy = "check quantization_config in config.json"});
}

Settings read_settings(const Json& quantization) {
  Settings settings;
  const Json* groups = find_member(quantization, "config_groups");
  if (groups == nullptr || !groups->is_object()) return settings;
  const auto number = [](const Json* value) -> std::uint64_t {
    return value != nullptr && value->is_number_unsigned() ? value->get<std::uint64_t>() : 0;
  };
  for (const Json& group : *groups) {
    const Json* weights = find_member(group, "weights");
    if (weights == nullptr) continue;
    const std::uint64_t bits = number(find_member(*weights, "num_bits"));
    if (bits >= 1 && bits <= 8) settings.bits.insert(static_cast<unsigned>(bits));
    const std::uint64_t columns = number(find_member(*weights, "group_size"));
    if (columns > 0) settings.group_sizes.insert(columns);
    const Json* block = find_member(*weights, "block_structure");
    if (block != nullptr && block->is_array() && block->size() == 2) {
      const ScaleBlock size{number(&(*block)[0]), number(&(*block)[1])};
      if (size.height > 0 && size.width > 0) settings.block = size;
    }
  }
  return settings;
}

// The format of the whole checkpoint, or the formats of its groups when they differ.
std::set<std::string> formats_of(const Json& quantization) {
  std::set<std::string> formats;
  const auto add = [&](const Json& owner) {
    const Json* format = find_member(owner, "format");
    if (format != nullptr && format->is_string()) formats.insert(format->get<std::string>());
  };
  add(quantization);
  const Json* groups = find_member(quantization, "config_groups");
  if (formats.erase("mixed-precision") > 0 && groups != nullptr) {
    for (const Json& group : *groups) add(group);
  }
  return formats;
}

std::pair<std::uint64_t, std::uint64_t> original_shape(const TensorInfo& part) {
  expect_part(part, {2}, {TensorType::i64, TensorType::i32});
  const std::vector<float> extents = read_numbers(part);
  for (const float extent : extents) {
    if (!(extent >= 1.0f && extent <= 16777216.0f)) {
      throw ValidationError({.where = fmt::format("tensor \"{}\"", part.name),
                             .found = fmt::format("an extent of {}", extent),
                             .expected = "1 to 16777216",
                             .remedy = "the checkpoint is damaged: download it again"});
    }
  }
  return {static_cast<std::uint64_t>(extents[0]), static_cast<std::uint64_t>(extents[1])};
}

// Finds the width and packing under which the packed shape holds `in` codes per row.
void find_packing(PackedParts& parts, std::uint64_t in, const Settings& settings) {
  for (const bool dense : {true, false}) {
    for (const unsigned bits : settings.bits) {
      if (words_for(in, bits, dense) != parts.packed->shape[1]) continue;
      parts.bits = bits;
      parts.dense = dense;
      return;
    }
  }
  fail_shape(*parts.packed, fmt::format("{} packed codes of num_bits per row", in));
}

ColumnGroups groups_of(const TensorInfo& scale, const TensorInfo* g_idx, std::uint64_t in,
                       const Settings& settings) {
  ColumnGroups groups;
  groups.count = scale.shape[1];
  if (groups.count == 0) fail_shape(scale, "one column per group");
  groups.size = in / groups.count;
  if (groups.count > 1) {
    for (const std::uint64_t size : settings.group_sizes) {
      if ((in + size - 1) / size == groups.count) groups.size = size;
    }
  }
  if (groups.size == 0 || (in + groups.size - 1) / groups.size != groups.count) {
    fail_shape(scale, fmt::format("one column per group of {} columns", in));
  }
  if (g_idx != nullptr) {
    expect_part(*g_idx, {in}, {TensorType::i32});
    groups.index = g_idx->bytes;
    check_group_index(groups, g_idx->name);
  }
  return groups;
}

void collect_packed(const Settings& settings, Parts& parts) {
  for (const std::string& base : parts.bases_of(".weight_packed")) {
    PackedParts found;
    found.packed = &parts.require(base, ".weight_packed");
    found.scale = &parts.require(base, ".weight_scale");
    found.zero = parts.take(base, ".weight_zero_point");
    const auto [out, in] = original_shape(parts.require(base, ".weight_shape"));
    if (found.packed->shape.size() != 2) fail_shape(*found.packed, "a matrix");
    if (found.scale->shape.size() != 2) fail_shape(*found.scale, "a matrix");
    find_packing(found, in, settings);
    expect_part(*found.packed, {out, found.packed->shape[1]}, {TensorType::i32});
    expect_part(*found.scale, {out, found.scale->shape[1]},
                {TensorType::bf16, TensorType::f16, TensorType::f32});
    const ColumnGroups groups =
        groups_of(*found.scale, parts.take(base, ".weight_g_idx"), in, settings);
    if (found.zero != nullptr) {
      expect_part(*found.zero, {words_for(out, found.bits, found.dense), groups.count},
                  {TensorType::i32});
    }
    parts.append(std::make_unique<PackedTensor>(base + ".weight", out, in, groups, found));
  }
}

void collect_unpacked(const Settings& settings, Parts& parts) {
  for (const std::string& base : parts.bases_of(".weight_scale")) {
    if (parts.take(base, ".weight_packed") != nullptr) continue;
    ScaledParts found;
    found.scale = &parts.require(base, ".weight_scale");
    found.zero = parts.take(base, ".weight_zero_point");
    found.weight = &parts.require(base, ".weight");
    expect_part(*found.weight, found.weight->shape,
                {TensorType::i8, TensorType::f8_e4m3, TensorType::f8_e5m2});
    parts.replace(*found.weight, make_scaled_tensor(found, settings.block));
  }
}

using Collect = void (*)(const Settings&, Parts&);
constexpr std::pair<std::string_view, Collect> kFormats[] = {
    {"pack-quantized", collect_packed},
    {"int-quantized", collect_unpacked},
    {"float-quantized", collect_unpacked},
    {"naive-quantized", collect_unpacked},
};

constexpr std::string_view kActivations[] = {
    ".input_scale", ".input_zero_point", ".output_scale", ".output_zero_point",
    ".k_scale",     ".v_scale",          ".q_scale"};

}  // namespace

void collect_compressed_tensors(const Json& quantization, Parts& parts) {
  for (const std::string_view suffix : kActivations) parts.drop(suffix);
  const Settings settings = read_settings(quantization);
  const std::set<std::string> formats = formats_of(quantization);
  for (const std::string& format : formats) {
    if (format == "dense") continue;
    const auto row =
        std::ranges::find(kFormats, format, &std::pair<std::string_view, Collect>::first);
    if (row == std::end(kFormats)) {
      std::string known;
      for (const auto& [name, collect] : kFormats)
        known += (known.empty() ? "" : ", ") + std::string(name);
      throw FormatNotSupportedError(
          {.where = "quantization_config",
           .found = fmt::format("compressed-tensors format \"{}\"", format),
           .expected = "one of " + known,
           .remedy = "use the original checkpoint"});
    }
  }
  // Packed modules first: what is left has its weights by themselves.
  for (const auto& [name, collect] : kFormats) {
    if (formats.contains(std::string(name))) collect(settings, parts);
  }
}

}  // namespace qwodel
