// Making a statistics file: a forward pass that can be stopped and taken up again.
//
// Beside the output, in ".NAME.work", are the statistics file as far as it is made, the hidden
// states after the last stage that was kept, and a journal that says which. When all is done the
// file gets its name and the folder goes.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>

#include "calibrate/collector.h"
#include "calibrate/statistics.h"
#include "graph/executor.h"
#include "io/positioned_file.h"

namespace qwodel {

struct StatisticsRunOptions {
  std::filesystem::path output;
  bool resume = false;   // go on with what is in the folder, if there is any
  bool replace = false;  // of the output
  int threads = 0;
  std::uint64_t gram_memory = std::uint64_t{2} << 30;  // as CollectorOptions
  // Hidden states are kept after the first stage that ends this long after the last that was kept.
  std::chrono::duration<double> keep_every = std::chrono::seconds(10);
};

class StatisticsRun : public StageKeeper {
 public:
  // Throws ValidationError when there is work of another run to resume, DependencyError when the
  // output exists.
  StatisticsRun(const Graph& graph, ComputeType compute, const StatisticsHeader& header,
                std::uint64_t tokens, StatisticsRunOptions options);

  // Runs what is left and writes the file. On Error(interrupted) the folder stays.
  void run(const Executor& executor, const TokenSequences& sequences);

  std::size_t first_stage() const override { return first_stage_; }
  void load(std::uint64_t first_row, MatrixView out) const override;
  void save(std::size_t stage, std::uint64_t first_row, ConstMatrixView rows) override;

 private:
  std::filesystem::path hidden_path(std::size_t stage) const;
  auto writer() {
    return [this](std::uint64_t at, std::span<const std::byte> bytes) {
      statistics_->write_at(at, bytes);
    };
  }
  void begin();
  bool take_up();
  void end_stage(std::size_t stage);
  void finish();

  StatisticsRunOptions options_;
  std::filesystem::path folder_;
  StatisticsLayout layout_;
  StatisticsCollector collector_;
  std::uint64_t hidden_bytes_;
  std::size_t stages_;
  std::size_t first_stage_ = 0;
  std::optional<PositionedFile> statistics_;
  std::optional<PositionedFile> kept_;    // output of the stage before first_stage_
  std::optional<PositionedFile> saving_;  // of the stage that runs
  std::chrono::steady_clock::time_point last_kept_;
  float max_abs_ = 0;  // of the stage that runs
};

}  // namespace qwodel
