// Turns bytes done into progress reports: at most five per second, one at the end of a stage.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "qwodel/progress.h"

namespace qwodel {

// Not thread-safe: advance() is called from a serial stage.
class ProgressMeter {
 public:
  // `callback` and `cancel` may be null.
  ProgressMeter(std::string stage, std::uint64_t total_bytes, const ProgressCallback* callback,
                const CancelToken* cancel);

  // Adds bytes; throws Error (interrupted) once the token is cancelled.
  void advance(std::uint64_t bytes);
  void finish();

 private:
  void report(bool finished);

  std::string stage_;
  std::uint64_t total_;
  std::uint64_t done_ = 0;
  const ProgressCallback* callback_;
  const CancelToken* cancel_;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_;
};

// Throws Error (interrupted) when the token is not null and was cancelled.
void throw_if_cancelled(const CancelToken* cancel);

}  // namespace qwodel
