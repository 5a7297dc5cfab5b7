#include "plan/file_type.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

namespace qwodel {
namespace {

using FT = FileType;
using TT = TensorType;

constexpr std::array kFileTypes = {
    FileTypeInfo{FT::f32, "F32", TT::f32, "32-bit floats, for reference"},
    FileTypeInfo{FT::f16, "F16", TT::f16, "16-bit floats"},
    FileTypeInfo{FT::bf16, "BF16", TT::bf16, "16-bit brain floats, lossless for BF16 models"},
    FileTypeInfo{FT::q8_0, "Q8_0", TT::q8_0, "8-bit, nearly lossless"},
    FileTypeInfo{FT::q6_k, "Q6_K", TT::q6_k, "6-bit K-quant, very small loss"},
    FileTypeInfo{FT::q5_k_m, "Q5_K_M", TT::q5_k, "5-bit K-quant mix, small loss"},
    FileTypeInfo{FT::q5_k_s, "Q5_K_S", TT::q5_k, "5-bit K-quant"},
    FileTypeInfo{FT::q5_1, "Q5_1", TT::q5_1, "5-bit with minimum, older"},
    FileTypeInfo{FT::q5_0, "Q5_0", TT::q5_0, "5-bit, older"},
    FileTypeInfo{FT::q4_k_m, "Q4_K_M", TT::q4_k, "4-bit K-quant mix, the usual choice"},
    FileTypeInfo{FT::q4_k_s, "Q4_K_S", TT::q4_k, "4-bit K-quant, a little smaller"},
    FileTypeInfo{FT::iq4_nl, "IQ4_NL", TT::iq4_nl, "4.5-bit non-linear codebook"},
    FileTypeInfo{FT::iq4_xs, "IQ4_XS", TT::iq4_xs, "4.25-bit non-linear codebook"},
    FileTypeInfo{FT::q4_1, "Q4_1", TT::q4_1, "4-bit with minimum, older"},
    FileTypeInfo{FT::q4_0, "Q4_0", TT::q4_0, "4-bit, fast on ARM"},
    FileTypeInfo{FT::mxfp4_moe, "MXFP4_MOE", TT::mxfp4, "MXFP4 experts, the rest Q8_0"},
    FileTypeInfo{FT::nvfp4, "NVFP4", TT::nvfp4, "4-bit floats with 8-bit float scales"},
    FileTypeInfo{FT::q3_k_l, "Q3_K_L", TT::q3_k, "3-bit K-quant mix, larger"},
    FileTypeInfo{FT::q3_k_m, "Q3_K_M", TT::q3_k, "3-bit K-quant mix"},
    FileTypeInfo{FT::q3_k_s, "Q3_K_S", TT::q3_k, "3-bit K-quant"},
    FileTypeInfo{FT::iq3_m, "IQ3_M", TT::iq3_s, "3.7-bit codebook mix"},
    FileTypeInfo{FT::iq3_s, "IQ3_S", TT::iq3_s, "3.4-bit codebook"},
    FileTypeInfo{FT::iq3_xs, "IQ3_XS", TT::iq3_s, "3.3-bit codebook mix"},
    FileTypeInfo{FT::iq3_xxs, "IQ3_XXS", TT::iq3_xxs, "3.1-bit codebook"},
    FileTypeInfo{FT::q2_k, "Q2_K", TT::q2_k, "2-bit K-quant mix"},
    FileTypeInfo{FT::q2_k_s, "Q2_K_S", TT::q2_k, "2-bit K-quant"},
    FileTypeInfo{FT::iq2_m, "IQ2_M", TT::iq2_s, "2.7-bit codebook mix"},
    FileTypeInfo{FT::iq2_s, "IQ2_S", TT::iq2_xs, "2.5-bit codebook mix"},
    FileTypeInfo{FT::iq2_xs, "IQ2_XS", TT::iq2_xs, "2.3-bit codebook"},
    FileTypeInfo{FT::iq2_xxs, "IQ2_XXS", TT::iq2_xxs, "2.1-bit codebook"},
    FileTypeInfo{FT::q2_0, "Q2_0", TT::q2_0, "2.25-bit, for models trained so"},
    FileTypeInfo{FT::tq2_0, "TQ2_0", TT::tq2_0, "2.1-bit ternary, for ternary models"},
    FileTypeInfo{FT::tq1_0, "TQ1_0", TT::tq1_0, "1.7-bit ternary, for ternary models"},
    FileTypeInfo{FT::iq1_m, "IQ1_M", TT::iq1_m, "1.75-bit codebook"},
    FileTypeInfo{FT::iq1_s, "IQ1_S", TT::iq1_s, "1.6-bit codebook"},
    FileTypeInfo{FT::q1_0, "Q1_0", TT::q1_0, "1.1-bit, for binary models"},
};

}  // namespace

std::span<const FileTypeInfo> file_types() { return kFileTypes; }

const FileTypeInfo& info(FileType type) {
  return *std::find_if(kFileTypes.begin(), kFileTypes.end(),
                       [type](const FileTypeInfo& row) { return row.type == type; });
}

std::optional<FileType> file_type_from_name(std::string_view name) {
  std::string upper(name);
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (upper == "Q3_K" || upper == "Q4_K" || upper == "Q5_K") upper += "_M";
  const auto row = std::find_if(kFileTypes.begin(), kFileTypes.end(),
                                [&](const FileTypeInfo& r) { return r.name == upper; });
  if (row == kFileTypes.end()) return std::nullopt;
  return row->type;
}

}  // namespace qwodel
