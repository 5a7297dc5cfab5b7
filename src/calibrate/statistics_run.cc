#include "calibrate/statistics_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <utility>

#include "io/atomic_file.h"
#include "io/json.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse_work(const fs::path& folder, std::string found) {
  throw ValidationError({.where = folder.string(),
                         .found = std::move(found),
                         .expected = "the work of a run with the same model, text and options",
                         .remedy = "leave out --resume to begin anew"});
}

fs::path work_folder(const fs::path& output) {
  return output.parent_path() / fmt::format(".{}.work", output.filename().string());
}

void write_text(const fs::path& path, const std::string& text) {
  AtomicFile file(path, 0, true);
  file.write_at(0, std::as_bytes(std::span(text)));
  file.commit();
}

}  // namespace

StatisticsRun::StatisticsRun(const Graph& graph, ComputeType compute,
                             const StatisticsHeader& header, std::uint64_t tokens,
                             StatisticsRunOptions options)
    : options_(std::move(options)),
      folder_(work_folder(options_.output)),
      layout_(header, statistics_inputs(graph)),
      collector_(
          graph,
          {.compute = compute,
           .threads = options_.threads,
           .with_gram = header.has_gram,
           .gram_memory = options_.gram_memory,
           .scratch = folder_},
          {.on_sums = [this](std::size_t input,
                             const InputSums& sums) { layout_.write(input, sums, writer()); },
           .on_gram =
               [this](std::size_t input, std::uint64_t first, std::span<const float> values) {
                 layout_.write_gram(input, first, values, writer());
               },
           .on_stage_end = [this](std::size_t stage) { end_stage(stage); }}),
      hidden_bytes_(tokens * graph.hidden_size * sizeof(float)),
      stages_(graph.stages.size()),
      last_kept_(std::chrono::steady_clock::now()) {
  refuse_existing(options_.output, options_.replace);
  if (!options_.resume || !take_up()) begin();
}

fs::path StatisticsRun::hidden_path(std::size_t stage) const {
  return folder_ / fmt::format("hidden-{}", stage);
}

void StatisticsRun::begin() {
  std::error_code error;
  fs::remove_all(folder_, error);
  fs::create_directories(folder_, error);
  if (error) {
    throw DependencyError({.where = folder_.string(),
                           .found = error.message(),
                           .expected = "a folder that can be made",
                           .remedy = "choose another -o"});
  }
  statistics_.emplace(folder_ / "statistics", PositionedFile::Mode::create, layout_.file_size());
  statistics_->write_at(0, layout_.header());
}

// The beginning of the file names model, text and options: work of another run differs there.
bool StatisticsRun::take_up() {
  if (!fs::exists(folder_ / "journal.json")) return false;
  const Json journal = read_json(folder_ / "journal.json");
  const Json* finished = find_member(journal, "finished_stage");
  if (finished == nullptr || !finished->is_number_unsigned() ||
      finished->get<std::uint64_t>() >= stages_) {
    refuse_work(folder_, "a damaged journal");
  }
  statistics_.emplace(folder_ / "statistics", PositionedFile::Mode::open, 0);
  std::vector<std::byte> header(layout_.header().size());
  if (statistics_->size() != layout_.file_size()) refuse_work(folder_, "a file of another size");
  statistics_->read_at(0, header);
  if (header != layout_.header()) refuse_work(folder_, "work of another run");
  first_stage_ = finished->get<std::size_t>() + 1;
  kept_.emplace(hidden_path(first_stage_ - 1), PositionedFile::Mode::open, 0);
  if (kept_->size() != hidden_bytes_) refuse_work(folder_, "hidden states of another size");
  return true;
}

void StatisticsRun::run(const Executor& executor, const TokenSequences& sequences) {
  executor.forward(sequences, &collector_, this);
  finish();
}

void StatisticsRun::load(std::uint64_t first_row, MatrixView out) const {
  kept_->read_at(first_row * out.cols * sizeof(float),
                 std::as_writable_bytes(std::span(out.data, out.rows * out.cols)));
}

void StatisticsRun::save(std::size_t stage, std::uint64_t first_row, ConstMatrixView rows) {
  for (const float value : std::span(rows.data, rows.rows * rows.cols)) {
    max_abs_ = std::max(max_abs_, std::abs(value));
  }
  if (stage + 1 == stages_) return;
  const bool is_due = std::chrono::steady_clock::now() - last_kept_ >= options_.keep_every;
  if (first_row == 0 && is_due) {
    saving_.emplace(hidden_path(stage), PositionedFile::Mode::create, hidden_bytes_);
  }
  if (!saving_) return;
  saving_->write_at(first_row * rows.cols * sizeof(float),
                    std::as_bytes(std::span(rows.data, rows.rows * rows.cols)));
}

void StatisticsRun::end_stage(std::size_t stage) {
  layout_.write_hidden(stage, std::exchange(max_abs_, 0.0f),
                       [&](std::uint64_t at, std::span<const std::byte> bytes) {
                         statistics_->write_at(at, bytes);
                       });
  if (!saving_) return;
  statistics_->sync();
  saving_->sync();
  write_text(folder_ / "journal.json", fmt::format("{{\"finished_stage\": {}}}\n", stage));
  std::error_code ignored;
  if (kept_) fs::remove(kept_->path(), ignored);
  kept_.emplace(std::move(*saving_));
  saving_.reset();
  last_kept_ = std::chrono::steady_clock::now();
}

void StatisticsRun::finish() {
  statistics_->sync();
  refuse_existing(options_.output, options_.replace);
  std::error_code error;
  fs::rename(folder_ / "statistics", options_.output, error);
  if (error) {
    throw DependencyError({.where = options_.output.string(),
                           .found = error.message(),
                           .expected = "a file that can be written",
                           .remedy = "choose another -o"});
  }
  fs::remove_all(folder_, error);
}

}  // namespace qwodel
