// compressed-tensors: integers of 2 to 8 bits in the format pack-quantized, 8-bit floats in
// float-quantized (float_quantized.h), and mixtures.
//
//   BASE.weight_packed      I32 [out, words]     codes packed along in, lowest bits first; a code
//   is
//                                                the signed value + 2^(bits - 1)
//   BASE.weight_scale       [out, groups]        F16 or BF16
//   BASE.weight_zero_point  I32 [words, groups]  packed along out; only when asymmetric
//   BASE.weight_shape       I64 [2]              out, in
//
// Widths that do not divide 32 are one dense stream, as compressed-tensors packs them since 0.16.
//
// Source: compressed-tensors, compressors/pack_quantized.
#include <fmt/format.h>

#include <algorithm>

#include "core/half.h"
#include "io/json.h"
#include "targets/compressed_tensors/float_quantized.h"
#include "targets/linear_format.h"
#include "targets/word_packing.h"

namespace qwodel {
namespace {

class CompressedTensorsFormat final : public LinearFormat {
 public:
  void check(const GroupIntScheme& scheme) const override {
    const bool fits = scheme.bits >= 2 && scheme.bits <= 8 &&
                      (scheme.symmetric || scheme.bits == 4 || scheme.bits == 8);
    if (fits) return;
    throw FormatNotSupportedError(
        {.where = "--to ct",
         .found =
             fmt::format("{} bits, {}", scheme.bits, scheme.symmetric ? "symmetric" : "asymmetric"),
         .expected = "2 to 8 bits symmetric, or 4 or 8 asymmetric",
         .remedy = "use W4A16_ASYM or drop _ASYM"});
  }

  std::vector<SafetensorsEntry> entries(std::string_view base, const GroupIntScheme& scheme,
                                        std::uint64_t rows, std::uint64_t cols) const override {
    if (scheme.codes == CodeKind::float8) {
      return float_quantized_entries(base, scheme, rows, cols);
    }
    require_multiple(base, "in_features", cols, scheme.group_of(cols));
    const std::uint64_t groups = cols / scheme.group_of(cols);
    const TensorType scale_type =
        scheme.scale_format == ScaleFormat::half ? TensorType::f16 : TensorType::bf16;
    const auto name = [&](std::string_view part) { return fmt::format("{}.{}", base, part); };
    std::vector<SafetensorsEntry> all = {
        {name("weight_packed"), TensorType::i32, {rows, words_of(cols, scheme.bits)}},
        {name("weight_scale"), scale_type, {rows, groups}},
        {name("weight_shape"), TensorType::i64, {2}}};
    if (!scheme.symmetric) {
      all.push_back(
          {name("weight_zero_point"), TensorType::i32, {words_of(rows, scheme.bits), groups}});
    }
    return all;
  }

  void pack(const GroupIntMatrix& matrix, std::span<std::byte> out) const override {
    if (matrix.scheme.codes == CodeKind::float8) {
      pack_float_quantized(matrix, out);
      return;
    }
    const unsigned bits = matrix.scheme.bits;
    PackedArrays arrays(out);
    const std::uint64_t words = words_of(matrix.cols, bits);
    std::uint32_t* codes = arrays.words(matrix.rows * words);
    for (std::uint64_t row = 0; row < matrix.rows; ++row) {
      const std::uint8_t* from = matrix.codes.data() + row * matrix.cols;
      pack_stream(
          matrix.cols, bits, [&](std::uint64_t i) { return from[i]; },
          [&](std::uint64_t word, std::uint32_t value) { codes[row * words + word] = value; });
    }
    const bool half = matrix.scheme.scale_format == ScaleFormat::half;
    std::uint16_t* scales = arrays.halves(matrix.scales.size());
    for (const float scale : matrix.scales) {
      *scales++ = half ? float_to_half(scale) : float_to_bfloat16(scale);
    }
    std::int64_t* shape = arrays.longs(2);
    shape[0] = static_cast<std::int64_t>(matrix.rows);
    shape[1] = static_cast<std::int64_t>(matrix.cols);
    if (!matrix.scheme.symmetric) pack_zeros(matrix, arrays);
  }

  std::string_view shape_tensor() const override { return "weight_shape"; }

  Json quantization_config(const LinearArtifact& artifact) const override {
    const std::vector<Group> groups = groups_of(artifact);
    Json config_groups = Json::object();
    for (std::size_t i = 0; i < groups.size(); ++i) {
      config_groups[fmt::format("group_{}", i)] = to_json(groups[i]);
    }
    std::vector<std::string> ignored = artifact.unquantized;
    for (const std::string& module : artifact.outside) {
      ignored.push_back(fmt::format("re:.*{}\\..*", module));
    }
    const std::string_view format = format_of(groups.front().scheme);
    const bool one = std::ranges::all_of(
        groups, [&](const Group& group) { return format_of(group.scheme) == format; });
    return {{"quant_method", "compressed-tensors"},
            {"format", one ? format : "mixed-precision"},
            {"quantization_status", "compressed"},
            {"config_groups", config_groups},
            {"ignore", ignored},
            {"kv_cache_scheme", nullptr},
            {"global_compression_ratio", nullptr}};
  }

 private:
  // Linears of one scheme.
  struct Group {
    GroupIntScheme scheme;
    std::vector<std::string> targets;
  };

  // One group is all of "Linear". Several name their modules: a class name beside names would win
  // over them in vLLM's fused layers.
  static std::vector<Group> groups_of(const LinearArtifact& artifact) {
    std::vector<Group> groups = {{artifact.scheme, {}}};
    for (const QuantizedModule& linear : artifact.linears) {
      auto group = std::ranges::find(groups, linear.scheme, &Group::scheme);
      if (group == groups.end()) group = groups.insert(group, {linear.scheme, {}});
      group->targets.push_back(linear.name);
    }
    if (groups.size() > 1 && groups.front().targets.empty()) groups.erase(groups.begin());
    if (groups.size() == 1) groups.front().targets = {"Linear"};
    return groups;
  }

  static std::string_view format_of(const GroupIntScheme& scheme) {
    return scheme.codes == CodeKind::float8 ? "float-quantized" : "pack-quantized";
  }

  static Json to_json(const Group& group) {
    const GroupIntScheme& scheme = group.scheme;
    const bool channel = scheme.group_size == 0;
    const Json weights = {{"num_bits", scheme.bits},
                          {"type", scheme.codes == CodeKind::float8 ? "float" : "int"},
                          {"symmetric", scheme.symmetric},
                          {"strategy", channel ? "channel" : "group"},
                          {"group_size", channel ? Json(nullptr) : Json(scheme.group_size)},
                          {"dynamic", false},
                          {"actorder", nullptr},
                          {"observer", "minmax"},
                          {"observer_kwargs", Json::object()},
                          {"block_structure", nullptr}};
    return {{"targets", group.targets},
            {"weights", weights},
            {"input_activations", nullptr},
            {"output_activations", nullptr},
            {"format", format_of(scheme)}};
  }

  static void pack_zeros(const GroupIntMatrix& matrix, PackedArrays& arrays) {
    const unsigned bits = matrix.scheme.bits;
    std::uint32_t* out = arrays.words(words_of(matrix.rows, bits) * matrix.groups());
    for (std::uint64_t group = 0; group < matrix.groups(); ++group) {
      pack_stream(
          matrix.rows, bits,
          [&](std::uint64_t row) { return matrix.zeros[row * matrix.groups() + group]; },
          [&](std::uint64_t word, std::uint32_t value) {
            out[word * matrix.groups() + group] = value;
          });
    }
  }
};

}  // namespace

const LinearFormat& compressed_tensors_format() {
  static const CompressedTensorsFormat format;
  return format;
}

}  // namespace qwodel
