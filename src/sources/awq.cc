// AWQ, as AutoAWQ writes it in its "gemm" version (quant_method "awq"), always 4 bits:
//
//   BASE.qweight  I32 [in, out / 8]      codes of eight rows per word, in the order 0 2 4 6 1 3 5 7
//   BASE.qzeros   I32 [groups, out / 8]  zero points, packed alike
//   BASE.scales   F16 [groups, out]
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "io/json.h"
#include "qwodel/error.h"
#include "sources/grouped.h"
#include "sources/parts.h"
#include "sources/plain.h"

namespace qwodel {
namespace {

constexpr std::size_t kPerWord = 8;

// The shift at which a word holds the code of row 8 * word + k.
constexpr std::array<unsigned, kPerWord> kShifts = {0, 16, 4, 20, 8, 24, 12, 28};

struct AwqParts {
  const TensorInfo* qweight = nullptr;
  const TensorInfo* qzeros = nullptr;
  const TensorInfo* scales = nullptr;
};

class AwqTensor final : public GroupedTensor {
 public:
  AwqTensor(std::string name, std::size_t out, std::size_t in, ColumnGroups column_groups,
            const AwqParts& parts)
      : GroupedTensor(std::move(name), out, in, column_groups), parts_(parts), out_(out) {}

  std::vector<std::span<const std::byte>> storage(std::uint64_t first,
                                                  std::uint64_t count) const override {
    (void)first;
    (void)count;
    // Rows are columns of qweight: every row touches nearly every page.
    return {parts_.qweight->bytes, parts_.qzeros->bytes, parts_.scales->bytes};
  }

 protected:
  unsigned bits() const override { return 4; }

  void unpack(const Tile& tile, std::uint8_t* codes) const override {
    const std::size_t last = tile.row + tile.rows;
    for (std::size_t row = tile.row; row < last;) {
      const std::size_t end = std::min(last, (row / kPerWord + 1) * kPerWord);
      unpack_rows(tile, row, end, codes + (row - tile.row) * tile.cols);
      row = end;
    }
  }

  void parameters(std::size_t row, std::size_t rows, float* scales, float* zeros) const override {
    const std::size_t count = groups().count;
    std::vector<float> run(rows);
    for (std::size_t group = 0; group < count; ++group) {
      const std::size_t width = info(parts_.scales->type).block_bytes;
      number_decoder(parts_.scales->type)(
          parts_.scales->bytes.data() + (group * out_ + row) * width, rows, run.data());
      for (std::size_t i = 0; i < rows; ++i) {
        const std::uint32_t word =
            load_word(parts_.qzeros->bytes, group * (out_ / kPerWord) + (row + i) / kPerWord);
        scales[i * count + group] = run[i];
        zeros[i * count + group] = code(word, row + i);
      }
    }
  }

 private:
  // Rows [row, end) that share words: one word a column, one stream of codes a row.
  void unpack_rows(const Tile& tile, std::size_t row, std::size_t end, std::uint8_t* codes) const {
    const std::size_t stride = out_ / kPerWord;
    for (std::size_t i = 0; i < tile.cols; ++i) {
      const std::uint32_t word =
          load_word(parts_.qweight->bytes, (tile.col + i) * stride + row / kPerWord);
      for (std::size_t k = row; k < end; ++k) codes[(k - row) * tile.cols + i] = code(word, k);
    }
  }

  static std::uint8_t code(std::uint32_t word, std::size_t row) {
    return static_cast<std::uint8_t>(word >> kShifts[row % kPerWord] & 0xFu);
  }

  AwqParts parts_;
  std::size_t out_;
};

void check_version(const Json& quantization) {
  const Json* value = find_member(quantization, "version");
  std::string version = value != nullptr && value->is_string() ? value->get<std::string>() : "gemm";
  for (char& c : version) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (version == "gemm") return;
  throw FormatNotSupportedError({.where = "quantization_config",
                                 .found = fmt::format("AWQ version \"{}\"", version),
                                 .expected = "gemm",
                                 .remedy = "use the original checkpoint"});
}

}  // namespace

void collect_awq(const Json& quantization, Parts& parts) {
  check_version(quantization);
  for (const std::string& base : parts.bases_of(".qweight")) {
    AwqParts found;
    found.qweight = &parts.require(base, ".qweight");
    found.qzeros = &parts.require(base, ".qzeros");
    found.scales = &parts.require(base, ".scales");
    const bool matrices = found.qweight->shape.size() == 2 && found.scales->shape.size() == 2;
    const std::uint64_t in = matrices ? found.qweight->shape[0] : 0;
    const std::uint64_t out = matrices ? found.scales->shape[1] : 0;
    const std::uint64_t count = matrices ? found.scales->shape[0] : 0;
    if (count == 0 || in % count != 0 || out % kPerWord != 0) {
      throw ValidationError(
          {.where = fmt::format("tensor \"{}\"", base),
           .found = fmt::format("qweight {} and scales {}", shape_text(found.qweight->shape),
                                shape_text(found.scales->shape)),
           .expected = "[in, out / 8] and [groups, out] with equal groups",
           .remedy = "check quantization_config in config.json"});
    }
    expect_part(*found.qweight, {in, out / kPerWord}, {TensorType::i32});
    expect_part(*found.qzeros, {count, out / kPerWord}, {TensorType::i32});
    expect_part(*found.scales, {count, out}, {TensorType::f16, TensorType::bf16, TensorType::f32});
    const ColumnGroups groups{
        .count = count, .size = std::max<std::uint64_t>(in / count, 1), .index = {}};
    parts.append(std::make_unique<AwqTensor>(base + ".weight", out, in, groups, found));
  }
}

}  // namespace qwodel
