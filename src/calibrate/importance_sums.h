// Importance matrices made from statistics, and written in llama.cpp's two forms.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "calibrate/importance_matrix.h"
#include "calibrate/statistics.h"

namespace qwodel {

// Of one weight: sums of squares per input column and matrix (expert, or head of a 3-D weight).
struct ImportanceSums {
  std::string weight;
  std::vector<float> sums;    // [matrices, columns]
  std::vector<float> counts;  // rows: one, or one per expert
  std::uint64_t matrices = 1;
};

struct ImportanceRun {
  std::vector<std::string> datasets;
  std::uint32_t chunks = 0;
  std::uint32_t chunk_size = 0;
  std::vector<ImportanceSums> entries;  // sorted by weight
};

// As llama-imatrix: weights of blocks ("blk.*") only.
std::vector<ImportanceSums> importance_sums(const std::vector<StatisticsInput>& inputs,
                                            const std::function<InputSums(std::size_t)>& sums_of);

// The same values that reading the written file gives.
ImportanceMatrix to_importance_matrix(const ImportanceRun& run, const std::string& name);

// .dat writes the older form, any other name GGUF. Throws DependencyError as AtomicFile.
void write_importance_matrix(const ImportanceRun& run, const std::filesystem::path& path,
                             bool replace);

}  // namespace qwodel
