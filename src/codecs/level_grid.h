// The fit / snap / pack view of encodings whose values are level * scale, one scale per group.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "codecs/codec.h"

namespace qwodel {

// Format describes one encoding:
//   Block            the block's struct; kSize values in groups of kGroup
//   kLevels          std::array of float, in the order of the codes
//   fit(values, block, scales)   writes the block's scale fields and the decoded scale of each
//   group pack(codes, block)           writes the block's code fields
template <class Format>
class LevelGrid final : public BlockGrid {
 public:
  void fit(std::span<const float> values, std::span<const float> /*importance*/) override {
    Format::fit(values.data(), block_, scales_.data());
  }

  // The nearest level; of two equally near ones, the one with the lower code.
  void snap(std::size_t first, std::span<const float> values, std::span<float> decoded) override {
    const float scale = scales_[first / Format::kGroup];
    std::size_t best = 0;
    for (std::size_t code = 1; code < Format::kLevels.size(); ++code) {
      if (distance(code, scale, values[0]) < distance(best, scale, values[0])) best = code;
    }
    codes_[first] = static_cast<std::uint8_t>(best);
    decoded[0] = Format::kLevels[best] * scale;
  }

  void pack(std::span<std::byte> block) const override {
    typename Format::Block packed = block_;
    Format::pack(codes_.data(), packed);
    std::memcpy(block.data(), &packed, sizeof packed);
  }

 private:
  static float distance(std::size_t code, float scale, float value) {
    return std::fabs(Format::kLevels[code] * scale - value);
  }

  typename Format::Block block_{};
  std::array<float, Format::kSize / Format::kGroup> scales_{};
  std::array<std::uint8_t, Format::kSize> codes_{};
};

}  // namespace qwodel
