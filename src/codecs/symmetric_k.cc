#include "codecs/symmetric_k.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/half.h"

namespace qwodel {
namespace {

constexpr std::size_t kBlockSize = 256;
constexpr std::size_t kSubBlockSize = 16;

class SymmetricGrid final : public BlockGrid {
 public:
  explicit SymmetricGrid(const SymmetricLayout& layout) : layout_(layout) {}

  void fit(std::span<const float> values, std::span<const float> importance) override {
    const BlockRows rows{values.data(), 1, kBlockSize,
                         importance.empty() ? nullptr : importance.data(), kBlockSize};
    std::array<SymmetricBlock, kMaxLanes> blocks;
    fit_symmetric_blocks(layout_.recipe, rows, 0, blocks.data());
    block_ = blocks[0];
  }

  void snap(std::size_t first, std::span<const float> values, std::span<float> decoded) override {
    const auto levels = static_cast<float>(layout_.recipe.levels);
    const float scale =
        half_to_float(block_.scale) * static_cast<float>(block_.scales[first / kSubBlockSize]);
    const float position = scale == 0.0f ? 0.0f : std::nearbyint(values[0] / scale);
    const float level = std::clamp(position, -levels, levels - 1);
    block_.codes[first] = static_cast<std::uint8_t>(level + levels);
    decoded[0] = scale * level;
  }

  void pack(std::span<std::byte> block) const override { layout_.pack(block_, block.data()); }

 private:
  const SymmetricLayout& layout_;
  SymmetricBlock block_{};
};

}  // namespace

void encode_symmetric(const SymmetricLayout& layout, const float* values, std::size_t rows,
                      std::size_t cols, const float* importance, std::byte* out) {
  const BlockRows blocks{values, rows, cols, importance, kBlockSize};
  std::array<SymmetricBlock, kMaxLanes> group;
  for (std::size_t first = 0; first < blocks.count();) {
    const std::size_t count = fit_symmetric_blocks(layout.recipe, blocks, first, group.data());
    for (std::size_t i = 0; i < count; ++i) {
      layout.pack(group[i], out + (first + i) * layout.block_bytes);
    }
    first += count;
  }
}

std::unique_ptr<BlockGrid> make_symmetric_grid(const SymmetricLayout& layout) {
  return std::make_unique<SymmetricGrid>(layout);
}

}  // namespace qwodel
