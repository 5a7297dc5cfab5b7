// AutoAWQ's "gemm" layout, 4 bits with zero points, the one AWQ layout every consumer loads:
//
//   BASE.qweight  I32 [in, out / 8]      codes of eight rows per word, in the order 0 2 4 6 1 3 5 7
//   BASE.qzeros   I32 [groups, out / 8]  zero points, packed alike
//   BASE.scales   F16 [groups, out]
//
// Source: AutoAWQ, awq/modules/linear/gemm.py and awq/utils/packing_utils.py.
#include <fmt/format.h>

#include <array>

#include "core/half.h"
#include "io/json.h"
#include "targets/linear_format.h"
#include "targets/word_packing.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kPerWord = 8;

// The shift at which a word holds the code of row 8 * word + k.
constexpr std::array<unsigned, kPerWord> kShifts = {0, 16, 4, 20, 8, 24, 12, 28};

std::string tensor_name(std::string_view base, std::string_view part) {
  return fmt::format("{}.{}", base, part);
}

class AwqFormat final : public LinearFormat {
 public:
  void check(const GroupIntScheme& scheme) const override {
    const bool fits = scheme.bits == 4 && scheme.scale_format == ScaleFormat::half;
    if (fits) return;
    throw FormatNotSupportedError({.where = "--to awq",
                                   .found = fmt::format("{} bits", scheme.bits),
                                   .expected = "4 bits: AWQ files hold nothing else",
                                   .remedy = "use gptq:8bit or ct:W8A16"});
  }

  std::vector<SafetensorsEntry> entries(std::string_view base, const GroupIntScheme& scheme,
                                        std::uint64_t rows, std::uint64_t cols) const override {
    require_multiple(base, "in_features", cols, scheme.group_of(cols));
    require_multiple(base, "out_features", rows, kPerWord);
    const std::uint64_t groups = cols / scheme.group_of(cols);
    return {{tensor_name(base, "qweight"), TensorType::i32, {cols, rows / kPerWord}},
            {tensor_name(base, "qzeros"), TensorType::i32, {groups, rows / kPerWord}},
            {tensor_name(base, "scales"), TensorType::f16, {groups, rows}}};
  }

  void pack(const GroupIntMatrix& matrix, std::span<std::byte> out) const override {
    PackedArrays arrays(out);
    pack_rows(matrix.codes, matrix.rows, matrix.cols, arrays.words(matrix.rows / 8 * matrix.cols));
    pack_rows(matrix.zeros, matrix.rows, matrix.groups(),
              arrays.words(matrix.rows / 8 * matrix.groups()));
    std::uint16_t* scales = arrays.halves(matrix.rows * matrix.groups());
    for (std::uint64_t group = 0; group < matrix.groups(); ++group) {
      for (std::uint64_t row = 0; row < matrix.rows; ++row) {
        *scales++ = float_to_half(matrix.scales[row * matrix.groups() + group]);
      }
    }
  }

  Json quantization_config(const LinearArtifact& artifact) const override {
    std::vector<std::string> kept = artifact.unquantized;
    for (const std::string& module : artifact.outside) {
      kept.push_back(module);         // vLLM looks for it within a name,
      kept.push_back(".*" + module);  // transformers for the pattern from a name's beginning on
    }
    return {{"quant_method", "awq"},
            {"bits", artifact.scheme.bits},
            {"group_size", artifact.scheme.group_size},
            {"zero_point", !artifact.scheme.symmetric},
            {"version", "gemm"},
            {"modules_to_not_convert", kept}};
  }

 private:
  // Codes [rows, cols] to words [cols, rows / 8].
  static void pack_rows(const std::vector<std::uint8_t>& codes, std::uint64_t rows,
                        std::uint64_t cols, std::uint32_t* out) {
    for (std::uint64_t word = 0; word < rows / kPerWord; ++word) {
      for (std::uint64_t col = 0; col < cols; ++col) {
        std::uint32_t value = 0;
        for (std::uint64_t k = 0; k < kPerWord; ++k) {
          value |= std::uint32_t{codes[(word * kPerWord + k) * cols + col]} << kShifts[k];
        }
        out[col * (rows / kPerWord) + word] = value;
      }
    }
  }
};

}  // namespace

const LinearFormat& awq_format() {
  static const AwqFormat format;
  return format;
}

}  // namespace qwodel
