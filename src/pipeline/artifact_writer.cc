#include "pipeline/artifact_writer.h"

#include <fmt/format.h>
#include <tbb/enumerable_thread_specific.h>
#include <tbb/global_control.h>
#include <tbb/parallel_pipeline.h>
#include <tbb/task_arena.h>
#include <xxhash.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <span>

#include "io/atomic_file.h"
#include "io/mapped_file.h"
#include "pipeline/progress_meter.h"
#include "pipeline/tensor_journal.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kReadAheadBytes = std::uint64_t{32} << 20;
constexpr std::uint64_t kWritebackBytes = std::uint64_t{8} << 20;

// A tile with its place in the output.
struct Work {
  Tile tile;
  std::size_t file = 0;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::size_t tiles = 0;  // of the tensor up to this one, for its last; else 0
  bool done = false;      // by a run that this one resumes
  TileResult result;
};

std::vector<Work> schedule(const std::vector<GgufShard>& files,
                           const std::vector<TileEncoder>& encoders, std::uint64_t tile_values) {
  std::vector<Work> all;
  for (std::size_t file = 0; file < files.size(); ++file) {
    for (std::size_t i = 0; i < files[file].tensors.size(); ++i) {
      const std::size_t tensor = files[file].tensors[i];
      const TileEncoder& encoder = encoders[tensor];
      std::uint64_t offset = files[file].layout.offsets[i];
      const std::vector<Tile> tiles = encoder.tiles(tensor, tile_values);
      for (const Tile& tile : tiles) {
        const std::uint64_t bytes = tile.rows * encoder.row_bytes();
        all.push_back({.tile = tile, .file = file, .offset = offset, .bytes = bytes, .result = {}});
        offset += bytes;
      }
      if (!tiles.empty()) all.back().tiles = tiles.size();
    }
  }
  return all;
}

[[noreturn]] void fail_verification(const std::filesystem::path& path, std::string found) {
  throw ValidationError({.where = path.string(),
                         .found = std::move(found),
                         .expected = "the bytes that were written",
                         .remedy = "check the disk; nothing was put at the output path"},
                        ErrorCode::verification_failed);
}

class Job {
 public:
  Job(const std::vector<GgufShard>& files, const std::vector<TileEncoder>& encoders,
      const WriteOptions& options)
      : files_(files),
        encoders_(encoders),
        options_(options),
        work_(schedule(files, encoders, options.tile_values)) {
    for (const Work& work : work_) total_bytes_ += work.bytes;
    for (const GgufShard& file : files_) refuse_existing(file.path, options_.replace);
    const bool kept = options_.resume || total_bytes_ >= kKeptBytes;
    for (const GgufShard& file : files_) {
      if (!kept) remove_unfinished(file.path);
      outputs_.push_back(std::make_unique<AtomicFile>(file.path, file.layout.file_size,
                                                      options_.replace,
                                                      kept ? Staging::kept : Staging::nameless));
    }
    if (kept) open_journal();
    for (std::size_t i = 0; i < files_.size(); ++i) {
      outputs_[i]->write_at(0, files_[i].layout.header);
    }
  }

  std::vector<ErrorSums> run() {
    try {
      take_up();
      run_pipeline("quantize", [this](Work& work) { encode(work); }, true);
      verify();
    } catch (const Error& error) {
      if (error.code() == ErrorCode::interrupted) keep();
      throw;
    }
    for (const auto& output : outputs_) output->commit();
    std::vector<ErrorSums> errors(encoders_.size());
    for (const Work& work : work_) errors[work.tile.tensor].add(work.result.errors);
    return errors;
  }

 private:
  // The files are locked by now. The work of another run is left to that.
  void open_journal() {
    try {
      journal_.emplace(files_.front().path, options_.key, options_.resume);
    } catch (const ValidationError&) {
      for (const auto& output : outputs_) output->keep();
      throw;
    }
  }

  void keep() {
    if (!journal_) return;
    journal_->keep();
    for (const auto& output : outputs_) output->keep();
  }

  // Tensors whose bytes are those that the journal speaks of.
  void take_up() {
    for (std::size_t last = 0; journal_ && last < work_.size(); ++last) {
      if (work_[last].tiles == 0) continue;
      const std::span<Work> tiles =
          std::span(work_).subspan(last + 1 - work_[last].tiles, work_[last].tiles);
      const auto entry = journal_->find(encoders_[work_[last].tile.tensor].name());
      if (!entry) continue;
      throw_if_cancelled(options_.cancel);
      for (Work& work : tiles) work.result.hash = hash_of_written(work);
      if (hash_of(tiles) != entry->hash) continue;
      for (Work& work : tiles) work.done = true;
      tiles.front().result.errors = entry->errors;
    }
  }

  static std::uint64_t hash_of(std::span<const Work> tiles) {
    std::uint64_t hash = 0;
    for (const Work& work : tiles) {
      hash = XXH3_64bits_withSeed(&work.result.hash, sizeof work.result.hash, hash);
    }
    return hash;
  }

  std::uint64_t hash_of_written(const Work& work) {
    std::vector<std::byte>& bytes = scratch_.local().bytes;
    bytes.resize(static_cast<std::size_t>(work.bytes));
    outputs_[work.file]->read_at(work.offset, bytes);
    return XXH3_64bits(bytes.data(), bytes.size());
  }

  // Tiles up to a tensor's last are written.
  void note_finished(const Work& last) {
    if (!journal_ || last.tiles == 0 || last.done) return;
    const auto end = static_cast<std::size_t>(&last - work_.data()) + 1;
    const std::span<const Work> tiles = std::span(work_).subspan(end - last.tiles, last.tiles);
    ErrorSums errors;
    for (const Work& work : tiles) errors.add(work.result.errors);
    journal_->add(encoders_[last.tile.tensor].name(), {hash_of(tiles), errors});
  }

  // Tiles are issued in file order, processed on all threads, and accounted for in file order.
  template <class Process>
  void run_pipeline(const char* stage, Process process, bool reads_source) {
    ProgressMeter meter(stage, total_bytes_, options_.progress, options_.cancel);
    for (const Work& work : work_) {
      if (reads_source && work.done) meter.advance(work.bytes);
    }
    std::size_t next = 0;
    ahead_ = 0;
    ahead_bytes_ = 0;
    const auto issue = [&](tbb::flow_control& control) -> Work* {
      while (reads_source && next < work_.size() && work_[next].done) ++next;
      if (next == work_.size()) {
        control.stop();
        return nullptr;
      }
      if (reads_source) read_source_ahead(next);
      return &work_[next++];
    };
    const auto account = [&](Work* work) {
      if (reads_source) {
        drop_source(*work);
        start_writeback(*work);
        note_finished(*work);
      }
      meter.advance(work->bytes);
    };
    const auto limit = static_cast<std::size_t>(options_.threads);
    const tbb::global_control parallelism(tbb::global_control::max_allowed_parallelism, limit);
    tbb::task_arena(options_.threads).execute([&] {
      tbb::parallel_pipeline(
          tiles_under_way(options_.threads),
          tbb::make_filter<void, Work*>(tbb::filter_mode::serial_in_order, issue) &
              tbb::make_filter<Work*, Work*>(tbb::filter_mode::parallel,
                                             [&](Work* work) {
                                               process(*work);
                                               return work;
                                             }) &
              tbb::make_filter<Work*, void>(tbb::filter_mode::serial_in_order, account));
    });
    meter.finish();
  }

  void encode(Work& work) {
    throw_if_cancelled(options_.cancel);
    TileEncoder::Scratch& scratch = scratch_.local();
    work.result = encoders_[work.tile.tensor].encode(work.tile, scratch);
    outputs_[work.file]->write_at(work.offset, scratch.bytes);
  }

  // Asks for the source bytes of the tiles up to kReadAheadBytes beyond the one issued.
  void read_source_ahead(std::size_t next) {
    ahead_ = std::max(ahead_, next);
    while (ahead_ < work_.size() && ahead_bytes_ < kReadAheadBytes) {
      const Work& work = work_[ahead_++];
      if (work.done) continue;
      const TileEncoder& encoder = encoders_[work.tile.tensor];
      for (const auto part : tile_storage(work)) read_ahead(part);
      ahead_bytes_ += work.tile.rows * encoder.cols();
    }
    const Work& issued = work_[next];
    ahead_bytes_ -= std::min(ahead_bytes_, issued.tile.rows * encoders_[issued.tile.tensor].cols());
  }

  std::vector<std::span<const std::byte>> tile_storage(const Work& work) const {
    const TileEncoder& encoder = encoders_[work.tile.tensor];
    return encoder.reader().storage(work.tile.first_row * encoder.cols(),
                                    work.tile.rows * encoder.cols());
  }

  // Source pages are touched once: dropping them keeps the process small beside any checkpoint.
  void drop_source(const Work& work) const {
    for (const auto part : tile_storage(work)) drop_pages(part);
    if (work.tiles == 0) return;
    for (const auto part : encoders_[work.tile.tensor].reader().whole_storage()) drop_pages(part);
  }

  // Disks are faster in large pieces; tiles arrive here in file order.
  void start_writeback(const Work& work) {
    const std::uint64_t end = work.offset + work.bytes;
    if (work.file != writeback_file_) {
      writeback_file_ = work.file;
      writeback_at_ = 0;
    }
    if (end - writeback_at_ < kWritebackBytes) return;
    outputs_[work.file]->start_writeback(writeback_at_, end - writeback_at_);
    writeback_at_ = end;
  }

  // Reads every file back: the header byte for byte, the data by the hash of each tile.
  void verify() {
    std::vector<std::byte> header;
    for (std::size_t i = 0; i < files_.size(); ++i) {
      const GgufLayout& layout = files_[i].layout;
      if (outputs_[i]->size() != layout.file_size) {
        fail_verification(files_[i].path, fmt::format("{} bytes", outputs_[i]->size()));
      }
      header.resize(layout.header.size());
      outputs_[i]->read_at(0, header);
      if (header != layout.header) {
        fail_verification(files_[i].path, "a header that changed on disk");
      }
    }
    const auto check = [&](Work& work) {
      throw_if_cancelled(options_.cancel);
      if (hash_of_written(work) != work.result.hash) {
        fail_verification(files_[work.file].path,
                          fmt::format("changed bytes at offset {}", work.offset));
      }
    };
    run_pipeline("verify", check, false);
  }

  const std::vector<GgufShard>& files_;
  const std::vector<TileEncoder>& encoders_;
  const WriteOptions& options_;
  std::vector<Work> work_;
  std::vector<std::unique_ptr<AtomicFile>> outputs_;
  std::optional<TensorJournal> journal_;
  tbb::enumerable_thread_specific<TileEncoder::Scratch> scratch_;
  std::uint64_t total_bytes_ = 0;
  std::size_t ahead_ = 0;
  std::uint64_t ahead_bytes_ = 0;
  std::size_t writeback_file_ = 0;
  std::uint64_t writeback_at_ = 0;
};

}  // namespace

std::vector<ErrorSums> write_artifact(const std::vector<GgufShard>& files,
                                      const std::vector<TileEncoder>& encoders,
                                      const WriteOptions& options) {
  return Job(files, encoders, options).run();
}

}  // namespace qwodel
