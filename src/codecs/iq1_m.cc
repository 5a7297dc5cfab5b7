// IQ1_M: codebook points of eight ternary levels, each shifted up or down by an eighth. 1.75 bits
// per weight. The encoder follows quantize_row_iq1_m_impl (ggml-quants.c).
#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "codecs/codec.h"
#include "codecs/iq1_grid.h"
#include "core/half.h"
#include "kernels/iq1_m.h"

namespace qwodel {
namespace {

constexpr std::size_t kParts = 16;  // of 16 weights

// 256 weights: value = scale * (2 * l + 1) * (level - 1 +- 1/8), l per part, the sign per group.
struct BlockIq1M {
  std::uint8_t points[kIq1Groups];  // low 8 bits of each group's point number
  std::uint8_t groups[16];  // a nibble per group: high bits of the point; bit 3: shifted down
  std::uint16_t scales[4];  // bits 3p ... 3p+2: l of the word's part p; bits 12-15 of the four
                            // words, the first lowest, make up the scale (half)
};
static_assert(sizeof(BlockIq1M) == 56);

struct Iq1M {
  using Block = BlockIq1M;

  static void encode(const float* values, std::size_t rows, std::size_t cols,
                     const float* importance, std::byte* out);

  static Iq1Groups unpack(const Block& block) {
    Iq1Groups groups;
    unsigned half = 0;
    for (unsigned w = 0; w < 4; ++w) half |= static_cast<unsigned>(block.scales[w] >> 12) << 4 * w;
    const float scale = half_to_float(static_cast<std::uint16_t>(half));
    for (std::size_t g = 0; g < kIq1Groups; ++g) {
      const unsigned nibble = block.groups[g / 2] >> 4 * (g % 2);
      const unsigned number = block.points[g] | (nibble & 7u) << 8;
      const unsigned l = block.scales[g / 8] >> 3 * (g / 2 % 4) & 7u;
      groups.number[g] = static_cast<std::uint16_t>(number);
      groups.point[g] = kIq1PointTable[number];
      groups.scale[g] = scale * static_cast<float>(2u * l + 1u);
      groups.shift[g] = (nibble & 8u) != 0 ? -kIq1Shift : kIq1Shift;
    }
    return groups;
  }

  static void set_points(const std::uint16_t* numbers, Block& block) {
    for (std::size_t p = 0; p < kParts; ++p) {
      const std::uint16_t* const pair = numbers + 2 * p;
      block.points[2 * p] = static_cast<std::uint8_t>(pair[0]);
      block.points[2 * p + 1] = static_cast<std::uint8_t>(pair[1]);
      block.groups[p] =
          static_cast<std::uint8_t>((block.groups[p] & 0x88) | pair[0] >> 8 | pair[1] >> 8 << 4);
    }
  }
};

BlockIq1M pack(const TernaryFit& fit) {
  BlockIq1M block{};
  const unsigned scale = float_to_half(fit.step * 1.1125f);  // the reference's empirical correction
  for (unsigned w = 0; w < 4; ++w) {
    unsigned word = (scale >> 4 * w & 15u) << 12;
    for (unsigned p = 0; p < 4; ++p) word |= static_cast<unsigned>(fit.level[4 * w + p]) << 3 * p;
    block.scales[w] = static_cast<std::uint16_t>(word);
  }
  for (std::size_t p = 0; p < kParts; ++p) {
    block.groups[p] = static_cast<std::uint8_t>((fit.shift[p] & 2) << 2 | (fit.shift[p] & 1) << 7);
  }
  Iq1M::set_points(fit.point, block);
  return block;
}

constexpr std::size_t kBatch = kMaxLanes;

void Iq1M::encode(const float* values, std::size_t rows, std::size_t cols, const float* importance,
                  std::byte* out) {
  const BlockRows blocks{values, rows, cols, importance, kIq1Size};
  std::array<TernaryFit, kBatch> fits;
  for (std::size_t first = 0; first < blocks.count(); first += kBatch) {
    const std::size_t count = std::min(kBatch, blocks.count() - first);
    fit_iq1_m(blocks, first, count, iq1_codebook(), fits.data());
    for (std::size_t b = 0; b < count; ++b, out += sizeof(BlockIq1M)) {
      const BlockIq1M block = pack(fits[b]);
      std::memcpy(out, &block, sizeof block);
    }
  }
}

std::unique_ptr<BlockGrid> make_grid_iq1_m() { return std::make_unique<Iq1Grid<Iq1M>>(); }

}  // namespace

extern constinit const Codec codec_iq1_m{.type = TensorType::iq1_m,
                                         .encode = Iq1M::encode,
                                         .decode = decode_iq1<Iq1M>,
                                         .make_grid = make_grid_iq1_m};

}  // namespace qwodel
