// The file types of llama-quantize: a name a user types, the id in general.file_type, and the
// tensor type that the mix starts from.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "core/tensor_type.h"

namespace qwodel {

// Ids as in llama.h, enum llama_ftype.
enum class FileType : std::uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q8_0 = 7,
  q5_0 = 8,
  q5_1 = 9,
  q2_k = 10,
  q3_k_s = 11,
  q3_k_m = 12,
  q3_k_l = 13,
  q4_k_s = 14,
  q4_k_m = 15,
  q5_k_s = 16,
  q5_k_m = 17,
  q6_k = 18,
  iq2_xxs = 19,
  iq2_xs = 20,
  q2_k_s = 21,
  iq3_xs = 22,
  iq3_xxs = 23,
  iq1_s = 24,
  iq4_nl = 25,
  iq3_s = 26,
  iq3_m = 27,
  iq2_s = 28,
  iq2_m = 29,
  iq4_xs = 30,
  iq1_m = 31,
  bf16 = 32,
  tq1_0 = 36,
  tq2_0 = 37,
  mxfp4_moe = 38,
  nvfp4 = 39,
  q1_0 = 40,
  q2_0 = 41,
};

struct FileTypeInfo {
  FileType type;
  std::string_view name;  // "Q4_K_M"
  TensorType default_type;
  std::string_view summary;  // one line for list-formats
};

std::span<const FileTypeInfo> file_types();
const FileTypeInfo& info(FileType type);

// By name, whatever the case; Q3_K, Q4_K and Q5_K mean their _M mix.
std::optional<FileType> file_type_from_name(std::string_view name);

}  // namespace qwodel
