#include "sources/grouped.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/half.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

// Enough rows that a word holding codes of 8 or more rows is used whole, few enough that a tile of
// a wide matrix stays in the cache.
constexpr std::size_t kTileRows = 32;

std::int32_t group_at(std::span<const std::byte> index, std::size_t col) {
  std::int32_t group = 0;
  std::memcpy(&group, index.data() + col * sizeof group, sizeof group);
  return group;
}

}  // namespace

std::uint32_t load_word(std::span<const std::byte> words, std::size_t index) {
  std::uint32_t word = 0;
  std::memcpy(&word, words.data() + index * sizeof word, sizeof word);
  return word;
}

std::uint32_t load_code(std::span<const std::byte> words, std::size_t start, std::size_t stride,
                        std::size_t bit, unsigned bits) {
  const std::size_t word = bit / 32;
  const auto shift = static_cast<unsigned>(bit % 32);
  std::uint64_t pair = load_word(words, start + word * stride);
  if (shift + bits > 32) {
    pair |= static_cast<std::uint64_t>(load_word(words, start + (word + 1) * stride)) << 32;
  }
  return static_cast<std::uint32_t>(pair >> shift) & ((1u << bits) - 1);
}

void check_group_index(const ColumnGroups& groups, const std::string& name) {
  for (std::size_t col = 0; col < groups.index.size() / sizeof(std::int32_t); ++col) {
    const std::int32_t group = group_at(groups.index, col);
    if (group >= 0 && static_cast<std::size_t>(group) < groups.count) continue;
    throw ValidationError({.where = fmt::format("tensor \"{}\"", name),
                           .found = fmt::format("group {} for column {}", group, col),
                           .expected = fmt::format("0 to {}", groups.count - 1),
                           .remedy = "the checkpoint is damaged: download it again"});
  }
}

GroupedTensor::GroupedTensor(std::string name, std::size_t out, std::size_t in, ColumnGroups groups)
    : WeightTensor(std::move(name), {out, in}, TensorType::f32, true), groups_(groups) {}

void GroupedTensor::read(std::uint64_t first, std::span<float> out) const {
  const std::uint64_t in = shape()[1];
  while (!out.empty()) {
    Tile tile{.row = first / in, .rows = 1, .col = first % in, .cols = 0};
    tile.cols = std::min<std::uint64_t>(in - tile.col, out.size());
    if (tile.cols == in) tile.rows = std::min<std::uint64_t>(out.size() / in, kTileRows);
    decode(tile, out.data());
    first += tile.rows * tile.cols;
    out = out.subspan(tile.rows * tile.cols);
  }
}

std::vector<std::uint32_t> GroupedTensor::reordered_groups() const {
  std::vector<std::uint32_t> all;
  bool reordered = false;
  for (std::size_t col = 0; col < groups_.index.size() / sizeof(std::int32_t); ++col) {
    all.push_back(static_cast<std::uint32_t>(group_at(groups_.index, col)));
    reordered = reordered || all.back() != col / groups_.size;
  }
  if (!reordered) all.clear();
  return all;
}

std::optional<GroupIntMatrix> GroupedTensor::codes() const {
  const std::uint64_t rows = shape()[0];
  const std::uint64_t cols = shape()[1];
  if (groups_.size == 0 || groups_.count * groups_.size != cols) return std::nullopt;
  GroupIntMatrix matrix({.bits = bits(), .group_size = groups_.size}, rows, cols);
  matrix.group_index = reordered_groups();
  std::vector<float> zeros(rows * groups_.count);
  for (std::size_t row = 0; row < rows; row += kTileRows) {
    const std::size_t count = std::min<std::size_t>(kTileRows, rows - row);
    unpack({.row = row, .rows = count, .col = 0, .cols = cols}, matrix.codes.data() + row * cols);
    parameters(row, count, matrix.scales.data() + row * groups_.count,
               zeros.data() + row * groups_.count);
  }
  const auto middle = static_cast<float>(1u << (bits() - 1));
  matrix.scheme.symmetric = std::ranges::all_of(zeros, [&](float zero) { return zero == middle; });
  std::ranges::transform(zeros, matrix.zeros.begin(),
                         [](float zero) { return static_cast<std::uint8_t>(zero); });
  const bool half = std::ranges::all_of(
      matrix.scales, [](float scale) { return half_to_float(float_to_half(scale)) == scale; });
  matrix.scheme.scale_format = half ? ScaleFormat::half : ScaleFormat::bfloat16;
  return matrix;
}

std::optional<GroupIntMatrix> stored_codes(const WeightTensor& tensor) {
  const auto* grouped = dynamic_cast<const GroupedTensor*>(&tensor);
  return grouped == nullptr ? std::nullopt : grouped->codes();
}

void GroupedTensor::decode(const Tile& tile, float* out) const {
  std::vector<std::uint8_t> codes(tile.rows * tile.cols);
  std::vector<float> scales(tile.rows * groups_.count);
  std::vector<float> zeros(tile.rows * groups_.count);
  unpack(tile, codes.data());
  parameters(tile.row, tile.rows, scales.data(), zeros.data());
  for (std::size_t row = 0; row < tile.rows; ++row) {
    const std::uint8_t* code = codes.data() + row * tile.cols;
    const float* scale = scales.data() + row * groups_.count;
    const float* zero = zeros.data() + row * groups_.count;
    float* value = out + row * tile.cols;
    if (!groups_.index.empty()) {
      for (std::size_t i = 0; i < tile.cols; ++i) {
        const auto group = static_cast<std::size_t>(group_at(groups_.index, tile.col + i));
        value[i] = (static_cast<float>(code[i]) - zero[group]) * scale[group];
      }
      continue;
    }
    for (std::size_t i = 0; i < tile.cols;) {
      const std::size_t group = (tile.col + i) / groups_.size;
      const std::size_t end = std::min(tile.cols, (group + 1) * groups_.size - tile.col);
      const float z = zero[group];
      const float s = scale[group];
      for (; i < end; ++i) value[i] = (static_cast<float>(code[i]) - z) * s;
    }
  }
}

}  // namespace qwodel
