// The element types of tensors, of every container: how many values a block holds and how many
// bytes it takes. What the bytes mean is the business of codecs/.
//
// Adding a type: one row in kTensorTypes (tensor_type.cc) and one enumerator, in the same order.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace qwodel {

enum class TensorType : std::uint8_t {
  f32,
  f16,
  bf16,
  f64,
  i8,
  i16,
  i32,
  i64,
  u8,
  u16,
  u32,
  u64,
  boolean,
  f8_e4m3,
  f8_e5m2,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq2_xxs,
  iq2_xs,
  iq2_s,
  iq3_xxs,
  iq3_s,
  iq1_s,
  iq1_m,
  iq4_nl,
  iq4_xs,
  tq1_0,
  tq2_0,
  mxfp4,
  nvfp4,
  q1_0,
  q2_0,
};

struct TensorTypeInfo {
  TensorType type;
  std::string_view name;              // stable: users type it, artifacts name it ("Q4_K")
  std::uint32_t block_size;           // values in a block; a row is a whole number of blocks
  std::uint32_t block_bytes;          // bytes of a block
  std::int32_t ggml_id;               // id on disk in GGUF, -1 where GGUF has none
  std::string_view safetensors_name;  // "BF16", empty where safetensors has none

  constexpr bool is_quantized() const { return block_size > 1; }
  constexpr double bits_per_weight() const {
    return 8.0 * static_cast<double>(block_bytes) / static_cast<double>(block_size);
  }
};

// All rows, in the order of the enumerators.
std::span<const TensorTypeInfo> tensor_types();

const TensorTypeInfo& info(TensorType type);

// The type of a name, whatever its case, or nothing.
std::optional<TensorType> tensor_type_from_name(std::string_view name);
std::optional<TensorType> tensor_type_from_ggml_id(std::uint32_t id);
std::optional<TensorType> tensor_type_from_safetensors(std::string_view name);

// Bytes of `count` values of a type; nothing when count is not whole blocks or the size overflows.
std::optional<std::uint64_t> bytes_of(TensorType type, std::uint64_t count);

}  // namespace qwodel
