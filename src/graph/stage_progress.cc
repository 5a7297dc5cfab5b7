#include "graph/stage_progress.h"

namespace qwodel {

StageProgress::StageProgress(const ProgressCallback& callback)
    : callback_(callback), start_(std::chrono::steady_clock::now()), last_report_(start_) {}

void StageProgress::advance(const std::string& stage, std::uint64_t stage_bytes, std::size_t batch,
                            std::size_t batches) {
  const auto now = std::chrono::steady_clock::now();
  const bool stage_done = batch == batches;
  if (stage_done) done_ += stage_bytes;
  if (!stage_done && now - last_report_ < std::chrono::milliseconds(250)) return;
  last_report_ = now;
  report(stage, stage_done ? done_ : done_ + stage_bytes / batches * batch, false);
}

void StageProgress::finish() { report("forward", total_, true); }

void StageProgress::report(const std::string& stage, std::uint64_t done, bool finished) {
  if (!callback_) return;
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  Progress progress;
  progress.stage = stage;
  progress.done_bytes = done;
  progress.total_bytes = total_;
  progress.elapsed_seconds = elapsed.count();
  if (done > 0) {
    progress.remaining_seconds =
        elapsed.count() * static_cast<double>(total_ - done) / static_cast<double>(done);
  }
  progress.stage_finished = finished;
  callback_(progress);
}

}  // namespace qwodel
