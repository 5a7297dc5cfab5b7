#include "pipeline/coreml_weights.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <mutex>
#include <numeric>
#include <optional>
#include <utility>

#include "graph/task_threads.h"
#include "io/mapped_file.h"
#include "io/positioned_file.h"
#include "kernels/convert.h"
#include "pipeline/stored_rows.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kTileValues = std::uint64_t{1} << 18;
// Codes of so many rows are whole bytes, whatever their bits.
constexpr std::uint64_t kRowStep = 8;
// Of a weight with feedback: a call works on this many at once, with all threads.
constexpr std::uint64_t kFeedbackValues = std::uint64_t{1} << 22;
// Rows that the feedback takes together; sums must not depend on where a call begins.
constexpr std::uint64_t kFeedbackRows = 128;

struct Tile {
  std::size_t weight = 0;  // index into WeightFile::weights
  std::uint64_t row = 0;
  std::uint64_t rows = 0;
};

struct TileResult {
  std::vector<WrittenPiece> pieces;
  ErrorSums errors;
};

std::vector<Tile> tiles_of(const StoredWeight& weight, std::size_t index, std::uint64_t row_step,
                           std::uint64_t values = kTileValues) {
  const std::uint64_t least = std::lcm(kRowStep, row_step);
  const std::uint64_t step = std::max(least, values / weight.columns / least * least);
  std::vector<Tile> tiles;
  for (std::uint64_t row = 0; row < weight.rows; row += step) {
    tiles.push_back({index, row, std::min(step, weight.rows - row)});
  }
  return tiles;
}

// A tile's values, and as halves.
struct TileValues {
  std::vector<float> values;
  std::vector<std::uint16_t> halves;
  HalfMatrix matrix;
};

// Reads and encodes a package's weights; each tile by itself.
class TileWriter {
 public:
  TileWriter(const WeightFile& file, const Graph& graph,
             std::span<const ModelTensorReader* const> readers, PositionedFile& out)
      : file_(file), graph_(graph), readers_(readers), out_(out) {}

  TileValues read(const Tile& tile) const {
    const StoredWeight& weight = file_.weights[tile.weight];
    TileValues result;
    result.values.resize(static_cast<std::size_t>(tile.rows * weight.columns));
    read_stored_rows(weight, *readers_[weight.weight], tile.row, result.values);
    check(weight, result.values);
    result.halves.resize(result.values.size());
    float_to_half(result.values.data(), result.values.size(), result.halves.data());
    result.matrix = {result.halves.data(), static_cast<std::size_t>(tile.rows),
                     static_cast<std::size_t>(weight.columns)};
    return result;
  }

  TileResult write(const Tile& tile, const WeightEncoder& encoder) {
    const TileValues from = read(tile);
    return write(tile, from, encoder.encode(from.matrix, tile.row == 0));
  }

  TileResult write_with_feedback(const Tile& tile, const WeightEncoder& encoder,
                                 const HessianFactor& factor) {
    const TileValues from = read(tile);
    return write(tile, from, encoder.encode_with_feedback(from.matrix, factor));
  }

 private:
  TileResult write(const Tile& tile, const TileValues& from, const EncodedRows& encoded) {
    const StoredWeight& weight = file_.weights[tile.weight];
    TileResult result;
    const WeightScheme& scheme = weight.scheme;
    const std::uint64_t scales_per_row = scheme.block == 0 ? 1 : weight.columns / scheme.block;
    const std::uint64_t scale = scheme.per_tensor ? 0 : tile.row * scales_per_row;
    const std::uint64_t table =
        scheme.group_rows == 0 ? 0 : (tile.row / scheme.group_rows) << scheme.bits;
    const CompressedWeight& parts = encoded.stored;
    put(weight.codes, tile.row * weight.columns * scheme.bits / 8, parts.codes, result);
    put(weight.scales, scale * 2, std::as_bytes(std::span(parts.scales)), result);
    put(weight.offsets, scale * scheme.bits / 8, parts.offsets, result);
    put(weight.tables, table * 2, std::as_bytes(std::span(parts.tables)), result);
    result.errors = error_sums(from.values.data(), encoded.decoded.data(), encoded.decoded.size());
    return result;
  }

  void put(std::size_t blob, std::uint64_t offset, std::span<const std::byte> bytes,
           TileResult& result) {
    if (bytes.empty()) return;
    const std::uint64_t position = file_.layout.blobs()[blob].data_position() + offset;
    out_.write_at(position, bytes);
    result.pieces.push_back({position, bytes.size(), XXH3_64bits(bytes.data(), bytes.size())});
  }

  void check(const StoredWeight& weight, std::span<const float> values) const {
    const std::string& name = graph_.weights[weight.weight].name;
    if (const std::size_t at = find_non_finite(values.data(), values.size()); at < values.size()) {
      throw QuantizationError({.where = fmt::format("tensor {}", name),
                               .found = fmt::format("{} in the checkpoint", values[at]),
                               .expected = "finite values",
                               .remedy = "the checkpoint is damaged: get it again"});
    }
    if (count_half_overflow(values.data(), values.size()) == 0) return;
    const float largest = *std::ranges::max_element(
        values, {}, [](float value) { return value < 0 ? -value : value; });
    throw FormatNotSupportedError({.where = fmt::format("tensor {}", name),
                                   .found = fmt::format("the value {}", largest),
                                   .expected = "values within half precision, up to 65504, which "
                                               "Core ML computes in",
                                   .remedy = "use a gguf target"});
  }

  const WeightFile& file_;
  const Graph& graph_;
  std::span<const ModelTensorReader* const> readers_;
  PositionedFile& out_;
};

TileResult write_frame(const WeightFile& file, PositionedFile& out) {
  TileResult result;
  const auto put = [&](std::uint64_t position, std::span<const std::byte> bytes) {
    out.write_at(position, bytes);
    result.pieces.push_back({position, bytes.size(), XXH3_64bits(bytes.data(), bytes.size())});
  };
  put(0, file.layout.header());
  for (const Blob& blob : file.layout.blobs()) put(blob.position, BlobLayout::metadata(blob));
  for (const StoredConstant& constant : file.constants) {
    put(file.layout.blobs()[constant.blob].data_position(), constant.bytes);
  }
  return result;
}

std::uint64_t bytes_of(const TileResult& result) {
  std::uint64_t bytes = 0;
  for (const WrittenPiece& piece : result.pieces) bytes += piece.bytes;
  return bytes;
}

void add(std::size_t weight, const TileResult& result, WrittenWeights& written) {
  written.pieces.insert(written.pieces.end(), result.pieces.begin(), result.pieces.end());
  written.errors[weight].add(result.errors);
}

WeightEncoder make_encoder(const StoredWeight& weight, const CoremlFit& fit, std::size_t index) {
  return {weight.scheme, fit.fits[index], weight.rows, weight.columns};
}

// Stored weights that no feedback takes as a whole.
std::vector<std::size_t> tiled_weights(const WeightFile& file, const CoremlFit& fit) {
  std::vector<bool> whole(file.weights.size(), false);
  for (const auto& [input, weights] : fit.feedback) {
    for (const std::size_t i : weights) whole[i] = true;
  }
  std::vector<std::size_t> tiled;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    if (!whole[i]) tiled.push_back(i);
  }
  return tiled;
}

// Whether an encoder sees all values before it encodes any; its histogram takes memory until then.
bool needs_scan(const WeightScheme& scheme) {
  return scheme.form == WeightForm::palette
             ? scheme.group_rows == 0
             : scheme.form == WeightForm::linear && scheme.per_tensor;
}

// All rows at once where they share a table.
std::vector<Tile> feedback_tiles(const StoredWeight& weight, std::size_t index,
                                 const WeightEncoder& encoder) {
  if (encoder.needs_scan()) return {{index, 0, weight.rows}};
  return tiles_of(weight, index, std::lcm(kFeedbackRows, encoder.row_step()), kFeedbackValues);
}

// Encoders of the weights that go by tiles; those that scan first have done so.
std::vector<std::optional<WeightEncoder>> make_encoders(const WeightFile& file,
                                                        const CoremlFit& fit,
                                                        const TileWriter& writer,
                                                        const TaskThreads& workers) {
  std::vector<std::optional<WeightEncoder>> encoders(file.weights.size());
  std::vector<std::size_t> scanned;
  for (const std::size_t i : tiled_weights(file, fit)) {
    if (needs_scan(file.weights[i].scheme)) {
      scanned.push_back(i);
    } else {
      encoders[i] = make_encoder(file.weights[i], fit, i);
    }
  }
  workers.run(scanned.size(), [&](std::size_t i) {
    const std::size_t index = scanned[i];
    WeightEncoder encoder = make_encoder(file.weights[index], fit, index);
    for (const Tile& tile : tiles_of(file.weights[index], index, 1)) {
      encoder.scan(writer.read(tile).matrix);
    }
    encoder.finish_scan();
    encoders[index] = std::move(encoder);
  });
  return encoders;
}

}  // namespace

WrittenWeights write_coreml_weights(const WeightFile& file, const Graph& graph,
                                    std::span<const ModelTensorReader* const> readers,
                                    const CoremlFit& fit, const CoremlEvidence& evidence,
                                    const std::filesystem::path& path, int threads,
                                    ProgressMeter& meter) {
  PositionedFile out(path, PositionedFile::Mode::create, file.layout.file_size());
  TileWriter writer(file, graph, readers, out);
  const TaskThreads workers(threads);
  const auto encoders = make_encoders(file, fit, writer, workers);
  std::vector<Tile> tiles;
  for (const std::size_t i : tiled_weights(file, fit)) {
    const auto more = tiles_of(file.weights[i], i, encoders[i]->row_step());
    tiles.insert(tiles.end(), more.begin(), more.end());
  }
  std::vector<TileResult> results(tiles.size());
  std::mutex mutex;
  workers.run(tiles.size(), [&](std::size_t i) {
    results[i] = writer.write(tiles[i], *encoders[tiles[i].weight]);
    const std::lock_guard lock(mutex);
    meter.advance(bytes_of(results[i]));
  });
  WrittenWeights written;
  written.pieces = write_frame(file, out).pieces;
  written.errors.resize(file.weights.size());
  for (std::size_t i = 0; i < tiles.size(); ++i) add(tiles[i].weight, results[i], written);
  for (const auto& [input, weights] : fit.feedback) {
    const HessianFactor factor = factor_of_input(evidence, input);
    for (const std::size_t i : weights) {
      const WeightEncoder encoder = make_encoder(file.weights[i], fit, i);
      for (const Tile& tile : feedback_tiles(file.weights[i], i, encoder)) {
        TileResult result;
        workers.execute([&] { result = writer.write_with_feedback(tile, encoder, factor); });
        meter.advance(bytes_of(result));
        add(i, result, written);
      }
    }
  }
  for (const WrittenPiece& piece : written.pieces) {
    written.hash = XXH3_64bits_withSeed(&piece.hash, sizeof(piece.hash), written.hash);
  }
  out.sync();
  return written;
}

void verify_coreml_weights(const std::filesystem::path& path, const WrittenWeights& written) {
  const MappedFile file(path);
  for (const WrittenPiece& piece : written.pieces) {
    const auto bytes = file.bytes().subspan(static_cast<std::size_t>(piece.position),
                                            static_cast<std::size_t>(piece.bytes));
    const bool same = XXH3_64bits(bytes.data(), bytes.size()) == piece.hash;
    drop_pages(bytes);
    if (same) continue;
    throw ValidationError({.where = path.string(),
                           .found = fmt::format("other bytes at {}", piece.position),
                           .expected = "what was written",
                           .remedy = "check the disk; nothing was put at the output path"},
                          ErrorCode::verification_failed);
  }
}

}  // namespace qwodel
