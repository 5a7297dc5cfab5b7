#include "codecs/codebook_format.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/half.h"

namespace qwodel {
namespace {

// Byte i is 255 where bit i is set.
constexpr std::array<std::uint64_t, 256> kSignBytes = [] {
  std::array<std::uint64_t, 256> masks{};
  for (unsigned signs = 0; signs < 256; ++signs) {
    for (unsigned i = 0; i < 8; ++i) {
      if ((signs >> i & 1u) != 0) masks[signs] |= std::uint64_t{255} << 8 * i;
    }
  }
  return masks;
}();

// Negates the bytes under the mask. No byte is 0, so that nothing is carried between them.
constexpr std::uint64_t negate_bytes(std::uint64_t bytes, std::uint64_t mask) {
  return (bytes ^ mask) + (mask & 0x0101010101010101u);
}

float part_scale(const CodebookFormat& format, const PointBlock& block, std::size_t part) {
  return half_to_float(block.scale) * (0.5f + static_cast<float>(block.scales[part])) *
         format.factor;
}

void expand_block(const CodebookFormat& format, const PointBlock& block, std::int8_t* levels) {
  const std::uint64_t* const expanded = format.expanded();
  for (std::size_t k = 0; k < block.signs.size(); ++k) {
    std::uint64_t bytes =
        format.width == 8 ? expanded[block.points[k]]
                          : expanded[block.points[2 * k]] | expanded[block.points[2 * k + 1]] << 32;
    bytes = negate_bytes(bytes, kSignBytes[block.signs[k]]);
    std::memcpy(levels + 8 * k, &bytes, sizeof(bytes));
  }
}

// The nearest point to magnitudes[width], and the nearest if one of the signs is to be wrong.
struct NearestPoints {
  float cost, cost_negated;
  std::uint16_t point, point_negated;
  std::size_t negated;
};

// Over the levels of half a point: its part of the cost, and what the cheapest wrong sign adds.
struct HalfCosts {
  std::array<float, 256> cost;
  std::array<float, 256> wrong_sign;

  HalfCosts(const CodebookFormat& format, const float* magnitudes, float scale) {
    const unsigned bits = format.width == 8 ? 2 : 3;
    cost[0] = 0.0f;
    wrong_sign[0] = std::numeric_limits<float>::infinity();
    for (unsigned i = 0; i < format.width / 2; ++i) {
      const unsigned count = 1u << bits * i;
      for (auto level = static_cast<unsigned>(format.levels.size()); level-- > 0;) {
        const float value = scale * static_cast<float>(format.levels[level]);
        const float difference = value - magnitudes[i];
        for (unsigned code = 0; code < count; ++code) {
          const unsigned longer = code | level << bits * i;
          cost[longer] = cost[code] + difference * difference;
          wrong_sign[longer] = std::min(wrong_sign[code], 4.0f * value * magnitudes[i]);
        }
      }
    }
  }
};

NearestPoints nearest_points(const CodebookFormat& format, const float* magnitudes, float scale) {
  const HalfCosts low(format, magnitudes, scale);
  const HalfCosts high(format, magnitudes + format.width / 2, scale);
  const unsigned half_bits = format.width == 8 ? 8 : 6;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  NearestPoints nearest{kInfinity, kInfinity, 0, 0, 0};
  const std::span<const std::uint16_t> points = format.codebook().points();
  for (std::size_t number = 0; number < points.size(); ++number) {
    const unsigned first = points[number] & ((1u << half_bits) - 1);
    const unsigned second = static_cast<unsigned>(points[number]) >> half_bits;
    const float cost = low.cost[first] + high.cost[second];
    const float negated = cost + std::min(low.wrong_sign[first], high.wrong_sign[second]);
    if (cost < nearest.cost) {
      nearest.cost = cost;
      nearest.point = static_cast<std::uint16_t>(number);
    }
    if (negated < nearest.cost_negated) {
      nearest.cost_negated = negated;
      nearest.point_negated = static_cast<std::uint16_t>(number);
    }
  }
  const std::uint64_t levels = format.expanded()[nearest.point_negated];
  const auto price = [&](std::size_t i) {
    return static_cast<float>(levels >> 8 * i & 255u) * magnitudes[i];
  };
  for (std::size_t i = 1; i < format.width; ++i) {
    if (price(i) < price(nearest.negated)) nearest.negated = i;
  }
  return nearest;
}

class CodebookGrid final : public BlockGrid {
 public:
  explicit CodebookGrid(const CodebookFormat& format) : format_(format) {}

  void fit(std::span<const float> values, std::span<const float> importance) override {
    // The reference needs importance for some encodings; all values alike is a fair stand-in.
    const std::array<float, kPointBlock> alike = [] {
      std::array<float, kPointBlock> ones{};
      ones.fill(1.0f);
      return ones;
    }();
    const bool stand_in = importance.empty() && format_.recipe.plain_spread < 0.0f;
    const float* const given = importance.empty() ? nullptr : importance.data();
    const BlockRows rows{values.data(), 1, kPointBlock, stand_in ? alike.data() : given,
                         kPointBlock};
    fit_point_blocks(format_.recipe, format_.codebook().view(), rows, 0, &block_);
  }

  std::size_t snap_width() const override { return format_.recipe.even_signs ? 8 : format_.width; }

  void snap(std::size_t first, std::span<const float> values, std::span<float> decoded) override {
    const std::size_t width = snap_width();
    const float scale = part_scale(format_, block_, first / format_.recipe.part);
    std::array<float, 8> magnitudes{};
    unsigned signs = 0;
    for (std::size_t i = 0; i < width; ++i) {
      magnitudes[i] = std::fabs(values[i]);
      signs |= (values[i] < 0.0f ? 1u : 0u) << i;
    }
    signs ^= choose_points(first, width / format_.width, magnitudes.data(), scale,
                           format_.recipe.even_signs && std::popcount(signs) % 2 != 0);
    store_signs(first, width, signs);
    for (std::size_t i = 0; i < width; ++i) {
      const std::size_t at = first + i;
      const std::uint64_t levels = format_.expanded()[block_.points[at / format_.width]];
      const float value = scale * static_cast<float>(levels >> 8 * (at % format_.width) & 255u);
      decoded[i] = (signs >> i & 1u) != 0 ? -value : value;
    }
  }

  void pack(std::span<std::byte> block) const override { format_.pack(block_, block.data()); }

 private:
  // Returns the bit of the sign that is to be wrong, if one must be.
  unsigned choose_points(std::size_t first, std::size_t groups, const float* magnitudes,
                         float scale, bool one_wrong) {
    std::array<NearestPoints, 2> nearest{};
    std::size_t cheapest = 0;
    for (std::size_t g = 0; g < groups; ++g) {
      nearest[g] = nearest_points(format_, magnitudes + g * format_.width, scale);
      block_.points[first / format_.width + g] = nearest[g].point;
      const auto loss = [&](std::size_t k) { return nearest[k].cost_negated - nearest[k].cost; };
      if (loss(g) < loss(cheapest)) cheapest = g;
    }
    if (!one_wrong) return 0;
    block_.points[first / format_.width + cheapest] = nearest[cheapest].point_negated;
    return 1u << (cheapest * format_.width + nearest[cheapest].negated);
  }

  void store_signs(std::size_t first, std::size_t width, unsigned signs) {
    std::uint8_t& stored = block_.signs[first / 8];
    const unsigned shift = first % 8;
    const unsigned mask = ((1u << width) - 1) << shift;
    stored = static_cast<std::uint8_t>((stored & ~mask) | signs << shift);
  }

  const CodebookFormat& format_;
  PointBlock block_{};
};

}  // namespace

void encode_codebook(const CodebookFormat& format, const float* values, std::size_t rows,
                     std::size_t cols, const float* importance, std::byte* out) {
  const BlockRows blocks{values, rows, cols, importance, kPointBlock};
  const CodebookView codebook = format.codebook().view();
  std::array<PointBlock, kPointBatch> batch;
  for (std::size_t first = 0; first < blocks.count();) {
    const std::size_t count =
        fit_point_blocks(format.recipe, codebook, blocks, first, batch.data());
    for (std::size_t i = 0; i < count; ++i) {
      format.pack(batch[i], out + (first + i) * format.block_bytes);
    }
    first += count;
  }
}

void decode_codebook(const CodebookFormat& format, const std::byte* in, std::size_t count,
                     float* values) {
  const std::size_t parts = kPointBlock / format.recipe.part;
  PointBlock block;
  std::array<std::int8_t, kPointBlock> levels;
  std::array<float, 16> scales;
  for (std::size_t b = 0; b < count / kPointBlock; ++b) {
    format.unpack(in + b * format.block_bytes, block);
    expand_block(format, block, levels.data());
    for (std::size_t p = 0; p < parts; ++p) scales[p] = part_scale(format, block, p);
    scale_levels(levels.data(), scales.data(), kPointBlock, format.recipe.part,
                 values + b * kPointBlock);
  }
}

std::unique_ptr<BlockGrid> make_codebook_grid(const CodebookFormat& format) {
  return std::make_unique<CodebookGrid>(format);
}

std::uint32_t pack_signs_and_scale(const std::uint8_t* signs, std::uint8_t scale) {
  std::uint32_t word = std::uint32_t{scale} << 28;
  for (unsigned k = 0; k < 4; ++k) word |= (signs[k] & 127u) << 7 * k;
  return word;
}

void unpack_signs_and_scale(std::uint32_t word, std::uint8_t* signs, std::uint8_t& scale) {
  for (unsigned k = 0; k < 4; ++k) signs[k] = with_eighth_sign(word >> 7 * k & 127u);
  scale = static_cast<std::uint8_t>(word >> 28);
}

std::uint8_t with_eighth_sign(unsigned seven_signs) {
  const unsigned odd = static_cast<unsigned>(std::popcount(seven_signs)) & 1u;
  return static_cast<std::uint8_t>(seven_signs | odd << 7);
}

void pack_scales(const PointBlock& block, std::span<std::uint8_t> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<std::uint8_t>(block.scales[2 * i] | block.scales[2 * i + 1] << 4);
  }
}

void unpack_scales(std::span<const std::uint8_t> in, PointBlock& block) {
  for (std::size_t i = 0; i < in.size(); ++i) {
    block.scales[2 * i] = in[i] & 15u;
    block.scales[2 * i + 1] = in[i] >> 4;
  }
}

}  // namespace qwodel
