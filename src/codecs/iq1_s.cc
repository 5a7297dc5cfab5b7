// IQ1_S: codebook points of eight ternary levels, shifted up or down by an eighth. 1.5625 bits per
// weight. The encoder follows quantize_row_iq1_s_impl (ggml-quants.c) and needs importance.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <memory>
#include <vector>

#include "codecs/codec.h"
#include "codecs/iq1_codebook.h"
#include "core/half.h"
#include "kernels/iq1_s.h"

namespace qwodel {
namespace {

constexpr std::size_t kSize = 256;
constexpr std::size_t kParts = 8;    // of 32 weights
constexpr std::size_t kGroups = 32;  // of 8 weights

// 256 weights: value = scale * (2 * l + 1) * (level - 1 +- 1/8), l and the sign per part.
struct BlockIq1S {
  std::uint16_t scale;           // half
  std::uint8_t points[kGroups];  // low 8 bits of each group's point number
  std::uint16_t parts[kParts];   // bits 3g ... 3g+2: high bits of the point of the part's group g;
                                 // bits 12-14: l; bit 15: the levels are shifted down
};
static_assert(sizeof(BlockIq1S) == 50);

// Rounds half to even, as the reference does; 0 for infinities and NaN.
int nearest(float value) {
  const auto bits = std::bit_cast<std::int32_t>(value + 12582912.0f);
  return (bits & 0x007FFFFF) - 0x00400000;
}

BlockIq1S pack(const TernaryFit& fit) {
  BlockIq1S block{};
  for (std::size_t g = 0; g < kGroups; ++g) {
    block.points[g] = static_cast<std::uint8_t>(fit.point[g]);
    block.parts[g / 4] |= static_cast<std::uint16_t>(fit.point[g] >> 8 << 3 * (g % 4));
  }
  const float largest = *std::max_element(fit.scale, fit.scale + kParts);
  if (!(largest > 0.0f)) return block;
  const float step = largest / 15.0f;
  const float inverse = 1.0f / step;
  block.scale = float_to_half(step * 1.125f);  // the reference's empirical correction
  for (std::size_t p = 0; p < kParts; ++p) {
    const int l = std::clamp(nearest(0.5f * (inverse * fit.scale[p] - 1.0f)), 0, 7);
    block.parts[p] |= static_cast<std::uint16_t>((l | fit.shift[p] << 3) << 12);
  }
  return block;
}

constexpr std::size_t kBatch = kMaxLanes;

void encode_iq1_s(const float* values, std::size_t rows, std::size_t cols, const float* importance,
                  std::byte* out) {
  const BlockRows blocks{values, rows, cols, importance, kSize};
  std::array<TernaryFit, kBatch> fits;
  for (std::size_t first = 0; first < blocks.count(); first += kBatch) {
    const std::size_t count = std::min(kBatch, blocks.count() - first);
    fit_iq1_s(blocks, first, count, iq1_codebook(), fits.data());
    for (std::size_t b = 0; b < count; ++b, out += sizeof(BlockIq1S)) {
      const BlockIq1S block = pack(fits[b]);
      std::memcpy(out, &block, sizeof block);
    }
  }
}

// Points, scales and shifts of the groups.
struct Groups {
  std::uint16_t number[kGroups];
  std::uint16_t point[kGroups];
  float scale[kGroups];
  float shift[kGroups];

  explicit Groups(const BlockIq1S& block) {
    const float scale_of_block = half_to_float(block.scale);
    for (std::size_t g = 0; g < kGroups; ++g) {
      const unsigned part = block.parts[g / 4];
      number[g] = static_cast<std::uint16_t>(block.points[g] | (part >> 3 * (g % 4) & 7u) << 8);
      point[g] = kIq1PointTable[number[g]];
      scale[g] = scale_of_block * static_cast<float>(2u * (part >> 12 & 7u) + 1u);
      shift[g] = (part & 0x8000u) != 0 ? -kIq1Shift : kIq1Shift;
    }
  }
};

void decode_iq1_s(const std::byte* in, std::size_t count, float* values) {
  const float* const end = values + count;
  for (; values != end; values += kSize, in += sizeof(BlockIq1S)) {
    BlockIq1S block;
    std::memcpy(&block, in, sizeof block);
    const Groups groups(block);
    decode_ternary_points(groups.point, groups.scale, groups.shift, kGroups, values);
  }
}

class Iq1SGrid final : public BlockGrid {
 public:
  void fit(std::span<const float> values, std::span<const float> importance) override {
    const std::vector<float> even(importance.empty() ? kSize : 0, 1.0f);
    encode_iq1_s(values.data(), 1, kSize, importance.empty() ? even.data() : importance.data(),
                 reinterpret_cast<std::byte*>(&block_));
    groups_ = Groups(block_);
  }

  std::size_t snap_width() const override { return 8; }

  void snap(std::size_t first, std::span<const float> values, std::span<float> decoded) override {
    const std::size_t g = first / 8;
    groups_.number[g] = nearest_iq1_point(values.data(), groups_.scale[g], groups_.shift[g]);
    groups_.point[g] = kIq1PointTable[groups_.number[g]];
    decode_ternary_points(&groups_.point[g], &groups_.scale[g], &groups_.shift[g], 1,
                          decoded.data());
  }

  void pack(std::span<std::byte> out) const override {
    BlockIq1S block = block_;
    for (std::size_t p = 0; p < kParts; ++p) block.parts[p] &= 0xF000u;
    for (std::size_t g = 0; g < kGroups; ++g) {
      block.points[g] = static_cast<std::uint8_t>(groups_.number[g]);
      block.parts[g / 4] |= static_cast<std::uint16_t>(groups_.number[g] >> 8 << 3 * (g % 4));
    }
    std::memcpy(out.data(), &block, sizeof block);
  }

 private:
  BlockIq1S block_{};
  Groups groups_{block_};
};

std::unique_ptr<BlockGrid> make_grid_iq1_s() { return std::make_unique<Iq1SGrid>(); }

}  // namespace

extern constinit const Codec codec_iq1_s{.type = TensorType::iq1_s,
                                         .needs_importance = true,
                                         .encode = encode_iq1_s,
                                         .decode = decode_iq1_s,
                                         .make_grid = make_grid_iq1_s};

}  // namespace qwodel
