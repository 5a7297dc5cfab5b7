#include "pipeline/progress_meter.h"

#include <utility>

#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::chrono::milliseconds kInterval{200};

double seconds_between(std::chrono::steady_clock::time_point from,
                       std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

void throw_if_cancelled(const CancelToken* cancel) {
  if (cancel == nullptr || !cancel->cancelled()) return;
  throw Error(ErrorCode::interrupted, {.where = "interrupted",
                                       .found = "",
                                       .expected = "",
                                       .remedy = "nothing is at the output; run the command again, "
                                                 "quantize and calibrate go on with --resume"});
}

ProgressMeter::ProgressMeter(std::string stage, std::uint64_t total_bytes,
                             const ProgressCallback* callback, const CancelToken* cancel)
    : stage_(std::move(stage)),
      total_(total_bytes),
      callback_(callback),
      cancel_(cancel),
      start_(std::chrono::steady_clock::now()),
      last_(start_) {}

void ProgressMeter::advance(std::uint64_t bytes) {
  throw_if_cancelled(cancel_);
  done_ += bytes;
  if (std::chrono::steady_clock::now() - last_ >= kInterval) report(false);
}

void ProgressMeter::finish() { report(true); }

void ProgressMeter::report(bool finished) {
  last_ = std::chrono::steady_clock::now();
  if (callback_ == nullptr || !*callback_) return;
  const double elapsed = seconds_between(start_, last_);
  const double fraction =
      total_ == 0 ? 1.0 : static_cast<double>(done_) / static_cast<double>(total_);
  const double remaining = fraction > 0 ? elapsed / fraction - elapsed : 0.0;
  (*callback_)({.stage = stage_,
                .done_bytes = done_,
                .total_bytes = total_,
                .elapsed_seconds = elapsed,
                .remaining_seconds = finished ? 0.0 : remaining,
                .stage_finished = finished});
}

}  // namespace qwodel
