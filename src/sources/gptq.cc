// GPTQ, as AutoGPTQ and GPTQModel write it (quant_method "gptq"):
//
//   BASE.qweight  I32 [in * bits / 32, out]      codes packed along in, lowest bits first
//   BASE.qzeros   I32 [groups, out * bits / 32]  zero points packed along out; one less in version
//   1 BASE.scales   F16 [groups, out] BASE.g_idx    I32 [in]                       group of each
//   column; may be absent
//
// Codes of 2, 4 and 8 bits fill words; 32 codes of 3 bits fill three words without gaps.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "io/json.h"
#include "qwodel/error.h"
#include "sources/grouped.h"
#include "sources/parts.h"
#include "sources/plain.h"

namespace qwodel {
namespace {

struct GptqParts {
  const TensorInfo* qweight = nullptr;
  const TensorInfo* qzeros = nullptr;
  const TensorInfo* scales = nullptr;
  unsigned bits = 0;
  unsigned zero_offset = 0;  // what version 1 took off
};

class GptqTensor final : public GroupedTensor {
 public:
  GptqTensor(std::string name, std::size_t out, std::size_t in, ColumnGroups column_groups,
             const GptqParts& parts)
      : GroupedTensor(std::move(name), out, in, column_groups), parts_(parts), out_(out) {}

  std::vector<std::span<const std::byte>> storage(std::uint64_t first,
                                                  std::uint64_t count) const override {
    (void)first;
    (void)count;
    // Codes are packed along columns: every row touches nearly every page.
    return {parts_.qweight->bytes, parts_.qzeros->bytes, parts_.scales->bytes};
  }

 protected:
  unsigned bits() const override { return parts_.bits; }

  void unpack(const Tile& tile, std::uint8_t* codes) const override {
    if (32 % parts_.bits == 0) {
      unpack_whole_words(tile, codes);
      return;
    }
    for (std::size_t row = 0; row < tile.rows; ++row) {
      for (std::size_t i = 0; i < tile.cols; ++i) {
        codes[row * tile.cols + i] =
            static_cast<std::uint8_t>(load_code(parts_.qweight->bytes, tile.row + row, out_,
                                                (tile.col + i) * parts_.bits, parts_.bits));
      }
    }
  }

  void parameters(std::size_t row, std::size_t rows, float* scales, float* zeros) const override {
    const std::size_t count = groups().count;
    const std::size_t zero_words = parts_.qzeros->shape[1];
    const std::uint32_t mask = (1u << parts_.bits) - 1;
    std::vector<float> run(rows);
    for (std::size_t group = 0; group < count; ++group) {
      const std::size_t width = info(parts_.scales->type).block_bytes;
      number_decoder(parts_.scales->type)(
          parts_.scales->bytes.data() + (group * out_ + row) * width, rows, run.data());
      for (std::size_t i = 0; i < rows; ++i) {
        const std::uint32_t stored = load_code(parts_.qzeros->bytes, group * zero_words, 1,
                                               (row + i) * parts_.bits, parts_.bits);
        scales[i * count + group] = run[i];
        // Zero point 0 was stored as the largest code.
        zeros[i * count + group] = static_cast<float>((stored + parts_.zero_offset) & mask);
      }
    }
  }

 private:
  void unpack_whole_words(const Tile& tile, std::uint8_t* codes) const {
    const std::size_t per_word = 32 / parts_.bits;
    const std::uint32_t mask = (1u << parts_.bits) - 1;
    for (std::size_t i = 0; i < tile.cols;) {
      const std::size_t col = tile.col + i;
      const std::size_t skipped = col % per_word;
      const std::size_t part = std::min(per_word - skipped, tile.cols - i);
      const std::size_t words = col / per_word * out_ + tile.row;
      for (std::size_t row = 0; row < tile.rows; ++row) {
        std::uint32_t word =
            load_word(parts_.qweight->bytes, words + row) >> (skipped * parts_.bits);
        std::uint8_t* out = codes + row * tile.cols + i;
        for (std::size_t j = 0; j < part; ++j) {
          out[j] = static_cast<std::uint8_t>(word & mask);
          word >>= parts_.bits;
        }
      }
      i += part;
    }
  }

  GptqParts parts_;
  std::size_t out_;
};

[[noreturn]] void fail_shape(const TensorInfo& part, std::string expected) {
  throw ValidationError({.where = fmt::format("tensor \"{}\"", part.name),
                         .found = "shape " + shape_text(part.shape),
                         .expected = std::move(expected),
                         .remedy = "check quantization_config in config.json"});
}

// The width of a code follows from the shapes, because "dynamic" rules may give each module its
// own.
unsigned bits_of(const TensorInfo& qzeros, std::uint64_t out) {
  for (const unsigned bits : {2u, 3u, 4u, 8u}) {
    if (out * bits == qzeros.shape[1] * 32) return bits;
  }
  fail_shape(qzeros, fmt::format("zero points of 2, 3, 4 or 8 bits for {} rows", out));
}

unsigned zero_offset_of(const Json& quantization) {
  std::string format = "gptq";
  for (const char* key : {"format", "checkpoint_format"}) {
    const Json* value = find_member(quantization, key);
    if (value != nullptr && value->is_string()) format = value->get<std::string>();
  }
  if (format == "gptq") return 1;
  if (format == "gptq_v2") return 0;
  throw FormatNotSupportedError({.where = "quantization_config",
                                 .found = fmt::format("GPTQ format \"{}\"", format),
                                 .expected = "gptq or gptq_v2",
                                 .remedy = "use the original checkpoint"});
}

ColumnGroups groups_of(const TensorInfo& scales, const TensorInfo* g_idx, std::uint64_t in,
                       const Json& quantization) {
  ColumnGroups groups;
  groups.count = scales.shape[0];
  const Json* size = find_member(quantization, "group_size");
  const bool sized = size != nullptr && size->is_number_integer() && size->get<std::int64_t>() > 0;
  groups.size = sized ? size->get<std::size_t>() : std::max<std::uint64_t>(in, 1);
  if (g_idx != nullptr) {
    expect_part(*g_idx, {in}, {TensorType::i32});
    groups.index = g_idx->bytes;
    check_group_index(groups, g_idx->name);
  } else if ((in + groups.size - 1) / groups.size != groups.count) {
    fail_shape(scales, fmt::format("one row per group of {} of the {} columns", groups.size, in));
  }
  return groups;
}

}  // namespace

void collect_gptq(const Json& quantization, Parts& parts) {
  const unsigned zero_offset = zero_offset_of(quantization);
  for (const std::string& base : parts.bases_of(".qweight")) {
    GptqParts found;
    found.qweight = &parts.require(base, ".qweight");
    found.qzeros = &parts.require(base, ".qzeros");
    found.scales = &parts.require(base, ".scales");
    found.zero_offset = zero_offset;
    for (const TensorInfo* part : {found.qweight, found.qzeros, found.scales}) {
      if (part->shape.size() != 2) fail_shape(*part, "a matrix");
    }
    const std::uint64_t out = found.qweight->shape[1];
    found.bits = bits_of(*found.qzeros, out);
    const std::uint64_t words = found.qweight->shape[0];
    if (words * 32 % found.bits != 0) {
      fail_shape(*found.qweight, fmt::format("whole words of {}-bit codes", found.bits));
    }
    const std::uint64_t in = words * 32 / found.bits;
    const std::uint64_t count = found.scales->shape[0];
    expect_part(*found.qweight, {words, out}, {TensorType::i32});
    expect_part(*found.qzeros, {count, out * found.bits / 32}, {TensorType::i32});
    expect_part(*found.scales, {count, out}, {TensorType::f16, TensorType::bf16, TensorType::f32});
    const ColumnGroups groups =
        groups_of(*found.scales, parts.take(base, ".g_idx"), in, quantization);
    parts.append(std::make_unique<GptqTensor>(base + ".weight", out, in, groups, found));
  }
}

}  // namespace qwodel
