#include "codecs/affine_k.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/half.h"

namespace qwodel {
namespace {

class AffineGrid final : public BlockGrid {
 public:
  explicit AffineGrid(const AffineLayout& layout) : layout_(layout) {}

  void fit(std::span<const float> values, std::span<const float> importance) override {
    const BlockRows rows{values.data(), 1, kSuperBlock,
                         importance.empty() ? nullptr : importance.data(), kSuperBlock};
    std::array<AffineBlock, kMaxLanes> blocks;
    fit_affine_blocks(layout_.recipe, rows, 0, blocks.data());
    block_ = blocks[0];
  }

  void snap(std::size_t first, std::span<const float> values, std::span<float> decoded) override {
    const std::size_t sub_block = first / layout_.recipe.sub_block;
    const float scale = half_to_float(block_.scale) * static_cast<float>(block_.scales[sub_block]);
    const float minimum =
        half_to_float(block_.minimum) * static_cast<float>(block_.mins[sub_block]);
    const float position = scale == 0.0f ? 0.0f : std::nearbyint((values[0] + minimum) / scale);
    const float code = std::clamp(position, 0.0f, static_cast<float>(layout_.recipe.levels));
    block_.codes[first] = static_cast<std::uint8_t>(code);
    decoded[0] = scale * code - minimum;
  }

  void pack(std::span<std::byte> block) const override { layout_.pack(block_, block.data()); }

 private:
  const AffineLayout& layout_;
  AffineBlock block_{};
};

}  // namespace

void encode_affine(const AffineLayout& layout, const float* values, std::size_t rows,
                   std::size_t cols, const float* importance, std::byte* out) {
  const BlockRows blocks{values, rows, cols, importance, kSuperBlock};
  std::array<AffineBlock, kMaxLanes> group;
  for (std::size_t first = 0; first < blocks.count();) {
    const std::size_t count = fit_affine_blocks(layout.recipe, blocks, first, group.data());
    for (std::size_t i = 0; i < count; ++i) {
      layout.pack(group[i], out + (first + i) * layout.block_bytes);
    }
    first += count;
  }
}

AffineBlock affine_block(const ScalarBlock& block) {
  AffineBlock result{block.scale, block.minimum, {}, {}, block.codes};
  for (std::size_t s = 0; s < block.scale_codes.size(); ++s) {
    result.scales[s] = static_cast<std::uint8_t>(block.scale_codes[s]);
    result.mins[s] = block.minimum_codes[s];
  }
  return result;
}

std::unique_ptr<BlockGrid> make_affine_grid(const AffineLayout& layout) {
  return std::make_unique<AffineGrid>(layout);
}

void pack_six_bit_scales(const AffineBlock& block, std::uint8_t* out) {
  for (std::size_t j = 0; j < 4; ++j) {
    const int scale = block.scales[j + 4];
    const int minimum = block.mins[j + 4];
    out[j] = static_cast<std::uint8_t>(block.scales[j] | scale >> 4 << 6);
    out[4 + j] = static_cast<std::uint8_t>(block.mins[j] | minimum >> 4 << 6);
    out[8 + j] = static_cast<std::uint8_t>((scale & 15) | (minimum & 15) << 4);
  }
}

void unpack_six_bit_scales(const std::uint8_t* in, std::uint16_t d, std::uint16_t dmin,
                           float* scales, float* mins) {
  const float scale = half_to_float(d);
  const float minimum = half_to_float(dmin);
  for (std::size_t j = 0; j < 4; ++j) {
    scales[j] = scale * static_cast<float>(in[j] & 63);
    mins[j] = minimum * static_cast<float>(in[4 + j] & 63);
    scales[j + 4] = scale * static_cast<float>((in[8 + j] & 15) | in[j] >> 6 << 4);
    mins[j + 4] = minimum * static_cast<float>(in[8 + j] >> 4 | in[4 + j] >> 6 << 4);
  }
}

}  // namespace qwodel
