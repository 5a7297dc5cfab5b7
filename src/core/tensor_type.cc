#include "core/tensor_type.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "core/checked.h"

namespace qwodel {
namespace {

using enum TensorType;

// Block layouts of the quantized types: ggml-common.h of llama.cpp (MIT), ids: ggml.h.
constexpr std::array kTensorTypes = {
    TensorTypeInfo{f32, "F32", 1, 4, 0, "F32"},
    TensorTypeInfo{f16, "F16", 1, 2, 1, "F16"},
    TensorTypeInfo{bf16, "BF16", 1, 2, 30, "BF16"},
    TensorTypeInfo{f64, "F64", 1, 8, 28, "F64"},
    TensorTypeInfo{i8, "I8", 1, 1, 24, "I8"},
    TensorTypeInfo{i16, "I16", 1, 2, 25, "I16"},
    TensorTypeInfo{i32, "I32", 1, 4, 26, "I32"},
    TensorTypeInfo{i64, "I64", 1, 8, 27, "I64"},
    TensorTypeInfo{u8, "U8", 1, 1, -1, "U8"},
    TensorTypeInfo{u16, "U16", 1, 2, -1, "U16"},
    TensorTypeInfo{u32, "U32", 1, 4, -1, "U32"},
    TensorTypeInfo{u64, "U64", 1, 8, -1, "U64"},
    TensorTypeInfo{boolean, "BOOL", 1, 1, -1, "BOOL"},
    TensorTypeInfo{f8_e4m3, "F8_E4M3", 1, 1, -1, "F8_E4M3"},
    TensorTypeInfo{f8_e5m2, "F8_E5M2", 1, 1, -1, "F8_E5M2"},
    TensorTypeInfo{q4_0, "Q4_0", 32, 18, 2, ""},
    TensorTypeInfo{q4_1, "Q4_1", 32, 20, 3, ""},
    TensorTypeInfo{q5_0, "Q5_0", 32, 22, 6, ""},
    TensorTypeInfo{q5_1, "Q5_1", 32, 24, 7, ""},
    TensorTypeInfo{q8_0, "Q8_0", 32, 34, 8, ""},
    TensorTypeInfo{q2_k, "Q2_K", 256, 84, 10, ""},
    TensorTypeInfo{q3_k, "Q3_K", 256, 110, 11, ""},
    TensorTypeInfo{q4_k, "Q4_K", 256, 144, 12, ""},
    TensorTypeInfo{q5_k, "Q5_K", 256, 176, 13, ""},
    TensorTypeInfo{q6_k, "Q6_K", 256, 210, 14, ""},
    TensorTypeInfo{iq2_xxs, "IQ2_XXS", 256, 66, 16, ""},
    TensorTypeInfo{iq2_xs, "IQ2_XS", 256, 74, 17, ""},
    TensorTypeInfo{iq2_s, "IQ2_S", 256, 82, 22, ""},
    TensorTypeInfo{iq3_xxs, "IQ3_XXS", 256, 98, 18, ""},
    TensorTypeInfo{iq3_s, "IQ3_S", 256, 110, 21, ""},
    TensorTypeInfo{iq1_s, "IQ1_S", 256, 50, 19, ""},
    TensorTypeInfo{iq1_m, "IQ1_M", 256, 56, 29, ""},
    TensorTypeInfo{iq4_nl, "IQ4_NL", 32, 18, 20, ""},
    TensorTypeInfo{iq4_xs, "IQ4_XS", 256, 136, 23, ""},
    TensorTypeInfo{tq1_0, "TQ1_0", 256, 54, 34, ""},
    TensorTypeInfo{tq2_0, "TQ2_0", 256, 66, 35, ""},
    TensorTypeInfo{mxfp4, "MXFP4", 32, 17, 39, ""},
    TensorTypeInfo{nvfp4, "NVFP4", 64, 36, 40, ""},
    TensorTypeInfo{q1_0, "Q1_0", 128, 18, 41, ""},
    TensorTypeInfo{q2_0, "Q2_0", 64, 18, 42, ""},
};

constexpr bool rows_follow_the_enumerators() {
  for (std::size_t i = 0; i < kTensorTypes.size(); ++i) {
    if (kTensorTypes[i].type != static_cast<TensorType>(i)) return false;
  }
  return kTensorTypes.back().type == q2_0;
}
static_assert(rows_follow_the_enumerators());

bool same_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::toupper(static_cast<unsigned char>(x)) ==
           std::toupper(static_cast<unsigned char>(y));
  });
}

template <class Predicate>
std::optional<TensorType> find_type(Predicate predicate) {
  const auto row = std::find_if(kTensorTypes.begin(), kTensorTypes.end(), predicate);
  if (row == kTensorTypes.end()) return std::nullopt;
  return row->type;
}

}  // namespace

std::span<const TensorTypeInfo> tensor_types() { return kTensorTypes; }

const TensorTypeInfo& info(TensorType type) { return kTensorTypes[static_cast<std::size_t>(type)]; }

std::optional<TensorType> tensor_type_from_name(std::string_view name) {
  return find_type([&](const TensorTypeInfo& row) { return same_ignoring_case(row.name, name); });
}

std::optional<TensorType> tensor_type_from_ggml_id(std::uint32_t id) {
  return find_type([&](const TensorTypeInfo& row) {
    return row.ggml_id >= 0 && static_cast<std::uint32_t>(row.ggml_id) == id;
  });
}

std::optional<TensorType> tensor_type_from_safetensors(std::string_view name) {
  return find_type([&](const TensorTypeInfo& row) {
    return !row.safetensors_name.empty() && row.safetensors_name == name;
  });
}

std::optional<std::uint64_t> bytes_of(TensorType type, std::uint64_t count) {
  const TensorTypeInfo& row = info(type);
  if (count % row.block_size != 0) return std::nullopt;
  return checked_mul(count / row.block_size, row.block_bytes);
}

}  // namespace qwodel
