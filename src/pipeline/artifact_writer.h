// Runs a plan: read, transform, encode and write overlapped over tiles of all tensors, then read
// back.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/error_sums.h"
#include "pipeline/tile_encoder.h"
#include "qwodel/progress.h"
#include "targets/gguf/gguf_artifact.h"

namespace qwodel {

struct WriteOptions {
  int threads = 1;
  std::uint64_t tile_values = std::uint64_t{1} << 18;  // values in memory per thread and buffer
  bool replace = false;
  const ProgressCallback* progress = nullptr;
  const CancelToken* cancel = nullptr;
  std::string key = {};  // of everything that the bytes depend on
  bool resume = false;   // go on with what a run of the same key left
};

// An artifact of at least so many bytes is kept when its run is interrupted or killed; a smaller
// one is made again in no time and leaves nothing behind, unless its run resumes.
inline constexpr std::uint64_t kKeptBytes = std::uint64_t{1} << 30;

// How many tiles are in the pipeline at once.
inline std::uint64_t tiles_under_way(int threads) {
  return 2 * static_cast<std::uint64_t>(threads);
}

// Writes all files of an artifact, proves them by reading them back and puts them at their paths.
// `encoders` holds one per planned tensor. Returns the error of each planned tensor. The bytes do
// not depend on the number of threads, or on whether the run resumes. Throws Error; nothing is left
// behind then, but what an interrupted run keeps in hidden files beside the artifact.
std::vector<ErrorSums> write_artifact(const std::vector<GgufShard>& files,
                                      const std::vector<TileEncoder>& encoders,
                                      const WriteOptions& options);

}  // namespace qwodel
