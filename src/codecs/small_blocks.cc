#include "codecs/small_blocks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/half.h"
#include "kernels/search_blocks.h"

namespace qwodel {
namespace {

constexpr std::size_t kBlockSize = 32;
// Blocks between kernel and packing; they stay in the first-level cache.
constexpr std::size_t kChunk = 64;

void fit_blocks(const SmallLayout& layout, const BlockRows& rows, const float* mean_squares,
                std::size_t first, std::size_t count, SmallBlock* out) {
  if (rows.importance != nullptr) {
    (layout.affine ? search_affine : search_symmetric)(rows, mean_squares, first, count,
                                                       layout.levels, out);
  } else {
    (layout.affine ? round_affine : round_symmetric)(rows.values + first * kBlockSize, count,
                                                     layout.levels, out);
  }
}

class SmallGrid final : public BlockGrid {
 public:
  explicit SmallGrid(const SmallLayout& layout) : layout_(layout) {}

  void fit(std::span<const float> values, std::span<const float> importance) override {
    const BlockRows rows{values.data(), 1, kBlockSize,
                         importance.empty() ? nullptr : importance.data(), kBlockSize};
    float mean_square = 0;
    mean_squares_of_rows(values.data(), 1, kBlockSize, &mean_square);
    fit_blocks(layout_, rows, &mean_square, 0, 1, &block_);
  }

  void snap(std::size_t first, std::span<const float> values, std::span<float> decoded) override {
    const float scale = half_to_float(block_.scale);
    const float minimum = half_to_float(block_.minimum);
    const auto levels = static_cast<float>(layout_.levels);
    const float offset = layout_.affine ? 0.0f : levels;
    const float top = layout_.affine ? levels : levels - 1;
    const float position = scale == 0.0f ? 0.0f : std::nearbyint((values[0] - minimum) / scale);
    const float level = std::clamp(position, -offset, top);
    store_code(first, static_cast<unsigned>(level + offset));
    decoded[0] = layout_.affine ? level * scale + minimum : level * scale;
  }

  void pack(std::span<std::byte> block) const override { layout_.pack({&block_, 1}, block.data()); }

 private:
  void store_code(std::size_t position, unsigned code) {
    std::uint8_t& byte = block_.nibbles[position % 16];
    const unsigned shift = position < 16 ? 0 : 4;
    byte = static_cast<std::uint8_t>((byte & ~(15u << shift)) | (code & 15u) << shift);
    block_.fifth_bits &= ~(std::uint32_t{1} << position);
    block_.fifth_bits |= static_cast<std::uint32_t>(code >> 4 & 1u) << position;
  }

  const SmallLayout& layout_;
  SmallBlock block_{};
};

}  // namespace

void encode_small(const SmallLayout& layout, const float* values, std::size_t rows,
                  std::size_t cols, const float* importance, std::byte* out) {
  const BlockRows blocks{values, rows, cols, importance, kBlockSize};
  std::vector<float> mean_squares;
  if (importance != nullptr) {
    mean_squares.resize(rows);
    mean_squares_of_rows(values, rows, cols, mean_squares.data());
  }
  std::array<SmallBlock, kChunk> chunk;
  for (std::size_t first = 0; first < blocks.count(); first += kChunk) {
    const std::size_t count = std::min(kChunk, blocks.count() - first);
    fit_blocks(layout, blocks, mean_squares.data(), first, count, chunk.data());
    layout.pack({chunk.data(), count}, out + first * layout.block_bytes);
  }
}

// The stored minimum is added, that of a ScalarBlock subtracted.
SmallBlock small_block(const SmallLayout& layout, const ScalarBlock& block) {
  constexpr std::uint16_t kSign = 0x8000;
  SmallBlock small{block.scale, 0, 0, {}};
  if (layout.affine) small.minimum = static_cast<std::uint16_t>(block.minimum ^ kSign);
  for (std::size_t i = 0; i < kBlockSize; ++i) {
    const unsigned code = block.codes[i];
    std::uint8_t& byte = small.nibbles[i % 16];
    byte = static_cast<std::uint8_t>(byte | (code & 15u) << (i < 16 ? 0 : 4));
    small.fifth_bits |= static_cast<std::uint32_t>(code >> 4) << i;
  }
  return small;
}

std::unique_ptr<BlockGrid> make_small_grid(const SmallLayout& layout) {
  return std::make_unique<SmallGrid>(layout);
}

}  // namespace qwodel
