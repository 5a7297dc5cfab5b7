// Importance matrices: per weight, how strongly each input column matters (mean squared
// activation).
//
// Both forms of llama.cpp are read: GGUF (general.type = "imatrix", NAME.in_sum2 and NAME.counts)
// and the older .dat. Values are normalized as llama-quantize does: sum / count per expert, 1 for
// an expert that no token reached.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace qwodel {

struct ImportanceMatrix {
  std::string file;                   // as the user named it; goes into quantize.imatrix.file
  std::vector<std::string> datasets;  // names of the calibration texts
  std::uint32_t chunks = 0;           // 0 when unknown
  std::unordered_map<std::string, std::vector<float>> entries;  // by weight name: cols * experts
};

// Throws ValidationError for a damaged file, missing keys, negative or non-finite values.
ImportanceMatrix read_importance_matrix(const std::filesystem::path& path);

}  // namespace qwodel
