// Progress reports and cancellation of long work.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>

namespace qwodel {

// A moment of a running job. Bytes are those of the output of the stage.
struct Progress {
  std::string_view stage;  // "quantize", "verify"
  std::uint64_t done_bytes = 0;
  std::uint64_t total_bytes = 0;
  double elapsed_seconds = 0;
  double remaining_seconds = 0;  // estimate; 0 while unknown
  bool stage_finished = false;
};

// Called from one thread at a time: at most a few times per second, and once at a stage's end (of a
// forward pass: at the end of every layer).
using ProgressCallback = std::function<void(const Progress&)>;

// Set from any thread or a signal handler; the job then stops at the next tile and throws an
// Error with ErrorCode::interrupted.
class CancelToken {
 public:
  void cancel() noexcept { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const noexcept { return cancelled_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> cancelled_{false};
};

}  // namespace qwodel
