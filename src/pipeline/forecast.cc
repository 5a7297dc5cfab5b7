#include "pipeline/forecast.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <map>
#include <thread>
#include <tuple>

#include "codecs/codec.h"
#include "formats/tensor_info.h"
#include "io/mapped_file.h"
#include "pipeline/memory.h"
#include "pipeline/tile_encoder.h"

namespace qwodel {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kBudgetSeconds = 1.0;
constexpr std::size_t kTilesPerKind = 8;
// The thread pool's library and the allocator's slack, as measured on Linux.
constexpr std::uint64_t kRuntimeBytes = std::uint64_t{3} << 20;
constexpr std::uint64_t kSampleValues = std::uint64_t{1} << 16;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// What this thread has computed for: neither other processes nor a slow disk lengthen it.
double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Tensors that take the same time per value.
struct Kind {
  std::vector<std::size_t> tensors;  // of the plan
  std::uint64_t values = 0;
  double sampled_seconds = 0;
  std::uint64_t sampled_values = 0;
};

class Sampler {
 public:
  Sampler(const SourceModel& model, const std::vector<PlanInput>& inputs, const TensorPlan& plan)
      : model_(model), inputs_(inputs), plan_(plan) {
    for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
      const PlannedTensor& tensor = plan.tensors[i];
      Kind& kind = kinds_[{tensor.type, model.readers[tensor.input].source_type(),
                           tensor.importance != nullptr}];
      kind.tensors.push_back(i);
      kind.values += values_of(i);
    }
  }

  // One tile of every kind in turn, so that a small budget still sees all of them.
  void run() {
    const Clock::time_point start = Clock::now();
    for (std::size_t round = 0; round < kTilesPerKind; ++round) {
      for (auto& [key, kind] : kinds_) {
        if (round > 0 && seconds_since(start) > kBudgetSeconds) return;
        sample(kind, round);
      }
    }
  }

  double encode_seconds() const {
    double seconds = 0;
    for (const auto& [key, kind] : kinds_) {
      if (kind.sampled_values == 0) continue;
      seconds += kind.sampled_seconds * static_cast<double>(kind.values) /
                 static_cast<double>(kind.sampled_values);
    }
    return seconds;
  }

 private:
  // Tiles lie at equal distances over the kind's values, so that large tensors count as such.
  void sample(Kind& kind, std::size_t round) {
    std::uint64_t position = kind.values / kTilesPerKind * round + kind.values / kTilesPerKind / 2;
    std::size_t i = 0;
    for (; i + 1 < kind.tensors.size() && position >= values_of(kind.tensors[i]); ++i) {
      position -= values_of(kind.tensors[i]);
    }
    const PlannedTensor planned = with_importance(plan_.tensors[kind.tensors[i]]);
    const TileEncoder encoder(model_.readers[planned.input], inputs_[planned.input], planned);
    const std::vector<Tile> tiles = encoder.tiles(kind.tensors[i], kSampleValues);
    if (tiles.empty()) return;
    const std::uint64_t at = position / (tiles.front().rows * encoder.cols());
    const Tile& tile = tiles[std::min(static_cast<std::size_t>(at), tiles.size() - 1)];
    if (round == 0) {  // tables that a codec makes at its first use are not time per value
      encoder.encode({tile.tensor, tile.first_row, 1}, scratch_);
    }
    const double start = cpu_seconds();
    encoder.encode(tile, scratch_);
    kind.sampled_seconds += cpu_seconds() - start;
    kind.sampled_values += tile.rows * encoder.cols();
    for (const auto part : encoder.reader().whole_storage()) drop_pages(part);
  }

  std::uint64_t values_of(std::size_t tensor) const {
    return element_count(inputs_[plan_.tensors[tensor].input].shape);
  }

  PlannedTensor with_importance(PlannedTensor tensor) {
    const Codec* codec = find_codec(tensor.type);
    if (tensor.importance != nullptr || codec == nullptr || !codec->needs_importance) return tensor;
    std::vector<float>& equal = equal_importance_[inputs_[tensor.input].shape.back()];
    equal.resize(static_cast<std::size_t>(inputs_[tensor.input].shape.back()), 1.0f);
    tensor.importance = &equal;
    return tensor;
  }

  const SourceModel& model_;
  const std::vector<PlanInput>& inputs_;
  const TensorPlan& plan_;
  std::map<std::tuple<TensorType, TensorType, bool>, Kind> kinds_;
  std::map<std::uint64_t, std::vector<float>> equal_importance_;  // by columns
  TileEncoder::Scratch scratch_;
};

// Buffers of every thread for the largest tile, and the source pages of the tiles under way; a
// tensor that is read across its rows stays mapped until its last tile.
std::uint64_t pipeline_memory(const SourceModel& model, const std::vector<PlanInput>& inputs,
                              const TensorPlan& plan, const WriteOptions& options) {
  std::uint64_t scratch = 0;
  std::uint64_t window = 0;
  std::uint64_t kept = 0;
  for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
    const PlannedTensor& planned = plan.tensors[i];
    const ModelTensorReader& reader = model.readers[planned.input];
    const TileEncoder encoder(reader, inputs[planned.input], planned);
    const std::vector<Tile> tiles = encoder.tiles(i, options.tile_values);
    if (tiles.empty()) continue;
    const std::uint64_t values = tiles.front().rows * encoder.cols();
    scratch = std::max(scratch, encoder.scratch_bytes(tiles.front()));
    const auto bytes_of = [](const auto& parts) {
      std::uint64_t bytes = 0;
      for (const auto part : parts) bytes += part.size();
      return bytes;
    };
    const std::uint64_t tile_bytes = bytes_of(reader.storage(0, values));
    window = std::max(window, tile_bytes);
    if (tile_bytes == 0) kept = std::max(kept, bytes_of(reader.whole_storage()));
  }
  const auto threads = static_cast<std::uint64_t>(options.threads);
  return kRuntimeBytes + threads * scratch + tiles_under_way(options.threads) * window + kept;
}

}  // namespace

Forecast forecast_run(const SourceModel& model, const std::vector<PlanInput>& inputs,
                      const TensorPlan& plan, const WriteOptions& options) {
  const std::uint64_t resident = resident_memory();
  Sampler sampler(model, inputs, plan);
  sampler.run();
  const auto cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  return {.peak_memory_bytes =
              std::max(peak_memory(), resident + pipeline_memory(model, inputs, plan, options)),
          .encode_seconds = sampler.encode_seconds() / std::min(options.threads, cores)};
}

}  // namespace qwodel
