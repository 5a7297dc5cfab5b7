// Progress of a forward pass.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "qwodel/progress.h"

namespace qwodel {

// Reports in bytes of weights: at the end of every stage, between at most four times a second.
class StageProgress {
 public:
  explicit StageProgress(const ProgressCallback& callback);

  void expect(std::uint64_t bytes) { total_ += bytes; }

  // `batch` of `batches` of a stage are done.
  void advance(const std::string& stage, std::uint64_t stage_bytes, std::size_t batch,
               std::size_t batches);
  void finish();

 private:
  void report(const std::string& stage, std::uint64_t done, bool finished);

  const ProgressCallback& callback_;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_report_;
  std::uint64_t total_ = 0;
  std::uint64_t done_ = 0;
};

}  // namespace qwodel
