// GPTQ files, as AutoGPTQ and GPTQModel write them:
//
//   BASE.qweight  I32 [in * bits / 32, out]      codes packed along in, lowest bits first
//   BASE.qzeros   I32 [groups, out * bits / 32]  zero points packed along out, lowest bits first
//   BASE.scales   F16 [groups, out]
//   BASE.g_idx    I32 [in]                       group of each column: i / group_size, or in order
//                                                of activation (desc_act)
//
// Symmetric files are version 1 ("gptq"), which holds zero points less one. Asymmetric ones are
// version 2: a zero point of 0 has no place in version 1. Rows of qweight are columns of the weight
// in their own order in any case.
//
// Source: AutoGPTQ, auto_gptq/nn_modules/qlinear; GPTQModel, gptqmodel/nn_modules/qlinear.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "core/half.h"
#include "io/json.h"
#include "targets/linear_format.h"
#include "targets/word_packing.h"

namespace qwodel {
namespace {

constexpr std::array kWidths = {2u, 3u, 4u, 8u};

// The lists of blocks that optimum finds by itself (optimum/gptq/constants.py, 2.3). It looks into
// the model, where "transformer.h" is what published BLOOM and GPT-2 checkpoints call "h".
constexpr std::array<std::string_view, 3> kFoundBlocks = {"transformer.h", "layers", "h"};

bool finds_blocks(std::string_view blocks) {
  return std::ranges::any_of(kFoundBlocks, [&](std::string_view name) {
    return blocks == name || blocks.ends_with(fmt::format(".{}", name));
  });
}

class GptqFormat final : public LinearFormat {
 public:
  void check(const GroupIntScheme& scheme) const override {
    for (const unsigned bits : kWidths) {
      if (bits == scheme.bits) return;
    }
    throw FormatNotSupportedError({.where = "--to gptq",
                                   .found = fmt::format("{} bits", scheme.bits),
                                   .expected = "2, 3, 4 or 8 bits",
                                   .remedy = fmt::format("use ct:W{}A16", scheme.bits)});
  }

  std::vector<SafetensorsEntry> entries(std::string_view base, const GroupIntScheme& scheme,
                                        std::uint64_t rows, std::uint64_t cols) const override {
    // 32 codes of any width fill whole words.
    const std::uint64_t whole = scheme.bits == 3 ? 32 : 32 / scheme.bits;
    require_multiple(base, "in_features", cols, scheme.group_of(cols));
    require_multiple(base, "in_features", cols, whole);
    require_multiple(base, "out_features", rows, whole);
    const std::uint64_t groups = cols / scheme.group_of(cols);
    const auto name = [&](std::string_view part) { return fmt::format("{}.{}", base, part); };
    return {{name("qweight"), TensorType::i32, {words_of(cols, scheme.bits), rows}},
            {name("qzeros"), TensorType::i32, {groups, words_of(rows, scheme.bits)}},
            {name("scales"), TensorType::f16, {groups, rows}},
            {name("g_idx"), TensorType::i32, {cols}}};
  }

  void pack(const GroupIntMatrix& matrix, std::span<std::byte> out) const override {
    const unsigned bits = matrix.scheme.bits;
    const std::uint64_t groups = matrix.groups();
    PackedArrays arrays(out);
    std::uint32_t* codes = arrays.words(words_of(matrix.cols, bits) * matrix.rows);
    for (std::uint64_t row = 0; row < matrix.rows; ++row) {
      const std::uint8_t* from = matrix.codes.data() + row * matrix.cols;
      pack_stream(
          matrix.cols, bits, [&](std::uint64_t i) { return from[i]; },
          [&](std::uint64_t word, std::uint32_t value) {
            codes[word * matrix.rows + row] = value;
          });
    }
    pack_zeros(matrix, arrays.words(groups * words_of(matrix.rows, bits)));
    std::uint16_t* scales = arrays.halves(groups * matrix.rows);
    for (std::uint64_t group = 0; group < groups; ++group) {
      for (std::uint64_t row = 0; row < matrix.rows; ++row) {
        *scales++ = float_to_half(matrix.scales[row * groups + group]);
      }
    }
    std::uint32_t* index = arrays.words(matrix.cols);
    for (std::uint64_t i = 0; i < matrix.cols; ++i) {
      index[i] = static_cast<std::uint32_t>(matrix.group_of(i));
    }
  }

  Json quantization_config(const LinearArtifact& artifact) const override {
    Json config = {{"quant_method", "gptq"},
                   {"bits", artifact.scheme.bits},
                   {"group_size", artifact.scheme.group_size},
                   {"desc_act", artifact.desc_act},
                   {"sym", artifact.scheme.symmetric},
                   {"lm_head", false},
                   {"checkpoint_format", artifact.scheme.symmetric ? "gptq" : "gptq_v2"},
                   {"pack_dtype", "int32"},
                   {"true_sequential", artifact.true_sequential},
                   {"static_groups", !artifact.desc_act},
                   {"meta", {{"quantizer", {artifact.producer}}}}};
    if (artifact.damp_percent > 0) config["damp_percent"] = artifact.damp_percent;
    add_modules(artifact, config);
    return config;
  }

  std::string_view config_file() const override { return "quantize_config.json"; }

 private:
  // Readers take every linear of a block for a quantized one, unless told which are. The list is
  // of names within a block, one for all blocks.
  static void add_modules(const LinearArtifact& artifact, Json& config) {
    if (artifact.linears.empty()) return;
    const std::string& first = artifact.linears.front().name;
    const std::size_t number = first.find_first_of("0123456789");
    if (number == std::string::npos || number < 2) return;
    const std::string_view blocks = std::string_view(first).substr(0, number - 1);
    if (!finds_blocks(blocks)) config["block_name_to_quantize"] = blocks;
    const bool all = std::ranges::none_of(artifact.unquantized, [&](const std::string& name) {
      return name.starts_with(blocks) && name.size() > number;
    });
    if (all) return;
    std::vector<std::string> names;
    for (const QuantizedModule& linear : artifact.linears) {
      const std::size_t dot = linear.name.find('.', number);
      if (dot == std::string::npos) continue;
      std::string name = linear.name.substr(dot + 1);
      if (std::ranges::find(names, name) == names.end()) names.push_back(std::move(name));
    }
    config["modules_in_block_to_quantize"] = Json::array({names});
  }

  static void pack_zeros(const GroupIntMatrix& matrix, std::uint32_t* out) {
    const unsigned bits = matrix.scheme.bits;
    const unsigned less = matrix.scheme.symmetric ? 1 : 0;
    for (std::uint64_t group = 0; group < matrix.groups(); ++group) {
      pack_stream(
          matrix.rows, bits,
          [&](std::uint64_t row) { return matrix.zeros[row * matrix.groups() + group] - less; },
          [&](std::uint64_t word, std::uint32_t value) {
            out[group * words_of(matrix.rows, bits) + word] = value;
          });
    }
  }
};

}  // namespace

const LinearFormat& gptq_format() {
  static const GptqFormat format;
  return format;
}

}  // namespace qwodel
