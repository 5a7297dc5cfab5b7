#include "pipeline/tile_encoder.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "codecs/codec.h"
#include "formats/tensor_info.h"
#include "kernels/convert.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

const Codec& codec_of(TensorType type, const std::string& name) {
  const Codec* codec = find_codec(type);
  if (codec == nullptr) {
    throw FormatNotSupportedError({.where = fmt::format("tensor {}", name),
                                   .found = fmt::format("type {}", info(type).name),
                                   .expected = "a type with a codec",
                                   .remedy = "choose another type for it"});
  }
  return *codec;
}

}  // namespace

TileEncoder::TileEncoder(const ModelTensorReader& reader, const PlanInput& input,
                         const PlannedTensor& planned, const RowEncoder* rows)
    : reader_(&reader),
      row_encoder_(rows),
      name_(input.name),
      stored_(input.stored),
      type_(planned.type),
      importance_(planned.importance),
      cols_(input.shape.empty() ? 1 : input.shape.back()) {
  const std::size_t axes = input.shape.size();
  rows_ = cols_ == 0 ? 0 : element_count(input.shape) / cols_;
  rows_per_matrix_ = axes > 1 ? std::max<std::uint64_t>(input.shape[axes - 2], 1) : 1;
  row_bytes_ = bytes_of(type_, cols_).value_or(0);
}

std::vector<Tile> TileEncoder::tiles(std::size_t tensor, std::uint64_t target_values) const {
  const std::uint64_t height = std::clamp<std::uint64_t>(
      target_values / std::max<std::uint64_t>(cols_, 1), 1, rows_per_matrix_);
  std::vector<Tile> all;
  for (std::uint64_t row = 0; row < rows_;) {
    const std::uint64_t left_in_matrix = rows_per_matrix_ - row % rows_per_matrix_;
    const std::uint64_t rows = std::min({height, left_in_matrix, rows_ - row});
    all.push_back({tensor, row, rows});
    row += rows;
  }
  return all;
}

void TileEncoder::check_finite(const std::vector<float>& values, const Tile& tile, const char* what,
                               const char* remedy) const {
  const std::size_t at = find_non_finite(values.data(), values.size());
  if (at == values.size()) return;
  throw QuantizationError({.where = fmt::format("tensor {}", name_),
                           .found = fmt::format("{} {} at row {}, column {}", values[at], what,
                                                tile.first_row + at / cols_, at % cols_),
                           .expected = "finite values",
                           .remedy = remedy});
}

// llama-quantize sees what the converter wrote: values rounded to the stored type first.
bool TileEncoder::rounds_to_stored() const {
  const bool rounded_already = reader_->source_type() == stored_ || stored_ == type_;
  return !rounded_already && !info(stored_).is_quantized() && stored_ != TensorType::f32;
}

std::uint64_t TileEncoder::scratch_bytes(const Tile& tile) const {
  const std::uint64_t values = tile.rows * cols_;
  const std::uint64_t rounded = rounds_to_stored() ? values * info(stored_).block_bytes : 0;
  return 2 * values * sizeof(float) + rounded + tile.rows * row_bytes_;
}

void TileEncoder::read_values(const Tile& tile, Scratch& scratch) const {
  reader_->read(tile.first_row * cols_, scratch.values);
  check_finite(scratch.values, tile, "in the checkpoint",
               "the checkpoint is damaged: get it again");
  if (!rounds_to_stored()) return;
  const Codec& stored = codec_of(stored_, name_);
  scratch.rounded.resize(scratch.values.size() * info(stored_).block_bytes);
  stored.encode(scratch.values.data(), 1, scratch.values.size(), nullptr, scratch.rounded.data());
  stored.decode(scratch.rounded.data(), scratch.values.size(), scratch.values.data());
  check_finite(scratch.values, tile, "after rounding to half precision",
               "use --outtype bf16 or f32, which hold larger values");
}

// Blocks of a GGUF that keep their type are copied as they are, never decoded and encoded again.
bool TileEncoder::copy_stored_blocks(const Tile& tile, Scratch& scratch) const {
  const WeightTensor* source = reader_->same_as_stored();
  if (source == nullptr || source->type() != type_ || source->raw().empty()) return false;
  const auto raw = source->raw().subspan(static_cast<std::size_t>(tile.first_row * row_bytes_),
                                         static_cast<std::size_t>(tile.rows * row_bytes_));
  std::memcpy(scratch.bytes.data(), raw.data(), raw.size());
  return true;
}

void TileEncoder::encode_rows(const Tile& tile, Scratch& scratch) const {
  const auto rows = static_cast<std::size_t>(tile.rows);
  const auto cols = static_cast<std::size_t>(cols_);
  if (row_encoder_ != nullptr && row_encoder_->encodes(tile)) {
    row_encoder_->encode(tile, {scratch.values.data(), rows, cols}, scratch.bytes.data());
    return;
  }
  const float* importance = importance_ == nullptr
                                ? nullptr
                                : importance_->data() + tile.first_row / rows_per_matrix_ %
                                                            (importance_->size() / cols) * cols;
  codec_of(type_, name_)
      .encode(scratch.values.data(), rows, cols, importance, scratch.bytes.data());
}

TileResult TileEncoder::encode(const Tile& tile, Scratch& scratch) const {
  const auto rows = static_cast<std::size_t>(tile.rows);
  const auto cols = static_cast<std::size_t>(cols_);
  scratch.values.resize(rows * cols);
  scratch.decoded.resize(rows * cols);
  scratch.bytes.resize(rows * static_cast<std::size_t>(row_bytes_));
  TileResult result;
  const bool is_integer = find_codec(type_) == nullptr;
  if (copy_stored_blocks(tile, scratch)) {
    if (!is_integer) {
      codec_of(type_, name_).decode(scratch.bytes.data(), rows * cols, scratch.decoded.data());
      check_finite(scratch.decoded, tile, "in the source", "the file is damaged: get it again");
      result.errors = error_sums(scratch.decoded.data(), scratch.decoded.data(), rows * cols);
    }
  } else {
    const Codec& codec = codec_of(type_, name_);
    read_values(tile, scratch);
    encode_rows(tile, scratch);
    codec.decode(scratch.bytes.data(), rows * cols, scratch.decoded.data());
    check_finite(scratch.decoded, tile, "after encoding",
                 "values are too large for the type: choose another, such as BF16");
    result.errors = error_sums(scratch.values.data(), scratch.decoded.data(), rows * cols);
  }
  result.hash = XXH3_64bits(scratch.bytes.data(), scratch.bytes.size());
  return result;
}

}  // namespace qwodel
