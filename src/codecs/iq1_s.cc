// IQ1_S: codebook points of eight ternary levels, shifted up or down by an eighth. 1.5625 bits per
// weight. The encoder follows quantize_row_iq1_s_impl (ggml-quants.c) and needs importance.
#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "codecs/codec.h"
#include "codecs/iq1_grid.h"
#include "core/half.h"
#include "kernels/iq1_s.h"

namespace qwodel {
namespace {

constexpr std::size_t kParts = 8;  // of 32 weights

// 256 weights: value = scale * (2 * l + 1) * (level - 1 +- 1/8), l and the sign per part.
struct BlockIq1S {
  std::uint16_t scale;              // half
  std::uint8_t points[kIq1Groups];  // low 8 bits of each group's point number
  std::uint16_t parts[kParts];  // bits 3g ... 3g+2: high bits of the point of the part's group g;
                                // bits 12-14: l; bit 15: the levels are shifted down
};
static_assert(sizeof(BlockIq1S) == 50);

struct Iq1S {
  using Block = BlockIq1S;

  static void encode(const float* values, std::size_t rows, std::size_t cols,
                     const float* importance, std::byte* out);

  static Iq1Groups unpack(const Block& block) {
    Iq1Groups groups;
    const float scale = half_to_float(block.scale);
    for (std::size_t g = 0; g < kIq1Groups; ++g) {
      const unsigned part = block.parts[g / 4];
      const unsigned number = block.points[g] | (part >> 3 * (g % 4) & 7u) << 8;
      groups.number[g] = static_cast<std::uint16_t>(number);
      groups.point[g] = kIq1PointTable[number];
      groups.scale[g] = scale * static_cast<float>(2u * (part >> 12 & 7u) + 1u);
      groups.shift[g] = (part & 0x8000u) != 0 ? -kIq1Shift : kIq1Shift;
    }
    return groups;
  }

  static void set_points(const std::uint16_t* numbers, Block& block) {
    for (std::size_t p = 0; p < kParts; ++p) {
      unsigned part = block.parts[p] & 0xF000u;
      for (std::size_t g = 0; g < 4; ++g) {
        block.points[4 * p + g] = static_cast<std::uint8_t>(numbers[4 * p + g]);
        part |= static_cast<unsigned>(numbers[4 * p + g] >> 8) << 3 * g;
      }
      block.parts[p] = static_cast<std::uint16_t>(part);
    }
  }
};

BlockIq1S pack(const TernaryFit& fit) {
  BlockIq1S block{};
  const float largest = *std::max_element(fit.scale, fit.scale + kParts);
  if (largest > 0.0f) {
    const float step = largest / 15.0f;
    const float inverse = 1.0f / step;
    block.scale = float_to_half(step * 1.125f);  // the reference's empirical correction
    for (std::size_t p = 0; p < kParts; ++p) {
      const int l = nearest_iq1_integer(0.5f * (inverse * fit.scale[p] - 1.0f));
      block.parts[p] = static_cast<std::uint16_t>((std::clamp(l, 0, 7) | fit.shift[p] << 3) << 12);
    }
  }
  Iq1S::set_points(fit.point, block);
  return block;
}

constexpr std::size_t kBatch = kMaxLanes;

void Iq1S::encode(const float* values, std::size_t rows, std::size_t cols, const float* importance,
                  std::byte* out) {
  const BlockRows blocks{values, rows, cols, importance, kIq1Size};
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

std::unique_ptr<BlockGrid> make_grid_iq1_s() { return std::make_unique<Iq1Grid<Iq1S>>(); }

}  // namespace

extern constinit const Codec codec_iq1_s{.type = TensorType::iq1_s,
                                         .needs_importance = true,
                                         .encode = Iq1S::encode,
                                         .decode = decode_iq1<Iq1S>,
                                         .make_grid = make_grid_iq1_s};

}  // namespace qwodel
