// IQ4_NL: 32 values, a half scale and 4-bit codes into a table; 4.5 bits per weight. x = d *
// table[code]. IQ4_XS: 256 values in eight sub-blocks of 32; 4.25 bits per weight. x = (d * (scale
// - 32)) * table[code], with 6-bit scales.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "codecs/codec.h"
#include "codecs/scalar_layout.h"
#include "core/half.h"
#include "kernels/codebook_blocks.h"
#include "kernels/decode_blocks.h"

namespace qwodel {
namespace {

struct BlockIQ4NL {
  std::uint16_t d;         // half
  std::uint8_t codes[16];  // pack_nibbles
};
static_assert(sizeof(BlockIQ4NL) == 18);

struct BlockIQ4XS {
  std::uint16_t d;             // half
  std::uint16_t scales_high;   // bits 2 s and 2 s + 1: the upper bits of scale s
  std::uint8_t scales_low[4];  // nibble s: the lower bits of scale s
  std::uint8_t codes[8 * 16];  // pack_nibbles of each sub-block
};
static_assert(sizeof(BlockIQ4XS) == 136);

// Byte i: code i, then code i + 16.
void pack_nibbles(const std::uint8_t* codes, std::uint8_t* out) {
  for (std::size_t i = 0; i < 16; ++i) {
    out[i] = static_cast<std::uint8_t>(codes[i] | codes[i + 16] << 4);
  }
}

void pack_iq4_nl(const CodebookBlock& block, std::byte* out) {
  BlockIQ4NL packed{block.scale, {}};
  pack_nibbles(block.codes.data(), packed.codes);
  std::memcpy(out, &packed, sizeof(packed));
}

void pack_iq4_xs(const CodebookBlock& block, std::byte* out) {
  BlockIQ4XS packed{block.scale, 0, {}, {}};
  for (std::size_t s = 0; s < 8; ++s) {
    const auto scale = static_cast<unsigned>(block.scales[s] + 32);
    packed.scales_high = static_cast<std::uint16_t>(packed.scales_high | scale >> 4 << (2 * s));
    packed.scales_low[s / 2] =
        static_cast<std::uint8_t>(packed.scales_low[s / 2] | (scale & 15u) << (s % 2 * 4));
    pack_nibbles(block.codes.data() + 32 * s, packed.codes + 16 * s);
  }
  std::memcpy(out, &packed, sizeof(packed));
}

struct CodebookLayout {
  std::size_t block_size;
  std::size_t block_bytes;
  void (*pack)(const CodebookBlock& block, std::byte* out);
};
constexpr CodebookLayout kLayoutNL = {32, sizeof(BlockIQ4NL), pack_iq4_nl};
constexpr CodebookLayout kLayoutXS = {256, sizeof(BlockIQ4XS), pack_iq4_xs};

template <const CodebookLayout& layout>
void encode(const float* values, std::size_t rows, std::size_t cols, const float* importance,
            std::byte* out) {
  const BlockRows blocks{values, rows, cols, importance, layout.block_size};
  std::array<CodebookBlock, kMaxLanes> group;
  for (std::size_t first = 0; first < blocks.count();) {
    const std::size_t count = fit_codebook_blocks(blocks, first, group.data());
    for (std::size_t i = 0; i < count; ++i) {
      layout.pack(group[i], out + (first + i) * layout.block_bytes);
    }
    first += count;
  }
}

void decode_iq4_nl(const std::byte* in, std::size_t count, float* values) {
  for (std::size_t b = 0; b < count / 32; ++b) {
    BlockIQ4NL block;
    std::memcpy(&block, in + b * sizeof(block), sizeof(block));
    const float scale = half_to_float(block.d);
    decode_table_codes(block.codes, &scale, 1, kCodebook.data(), values + 32 * b);
  }
}

void decode_iq4_xs(const std::byte* in, std::size_t count, float* values) {
  for (std::size_t b = 0; b < count / 256; ++b) {
    BlockIQ4XS block;
    std::memcpy(&block, in + b * sizeof(block), sizeof(block));
    const float d = half_to_float(block.d);
    float scales[8];
    for (std::size_t s = 0; s < 8; ++s) {
      const int scale =
          (block.scales_low[s / 2] >> (s % 2 * 4) & 15) | (block.scales_high >> (2 * s) & 3) << 4;
      scales[s] = d * static_cast<float>(scale - 32);
    }
    decode_table_codes(block.codes, scales, 8, kCodebook.data(), values + 256 * b);
  }
}

template <const CodebookLayout& layout>
class CodebookGrid final : public BlockGrid {
 public:
  void fit(std::span<const float> values, std::span<const float> importance) override {
    const BlockRows rows{values.data(), 1, layout.block_size,
                         importance.empty() ? nullptr : importance.data(), layout.block_size};
    std::array<CodebookBlock, kMaxLanes> blocks;
    fit_codebook_blocks(rows, 0, blocks.data());
    block_ = blocks[0];
  }

  void snap(std::size_t first, std::span<const float> values, std::span<float> decoded) override {
    const float d = half_to_float(block_.scale);
    const float scale =
        layout.block_size == 32 ? d : d * static_cast<float>(block_.scales[first / 32]);
    const auto nearest =
        std::min_element(kCodebook.begin(), kCodebook.end(), [&](std::int8_t a, std::int8_t b) {
          return std::abs(scale * static_cast<float>(a) - values[0]) <
                 std::abs(scale * static_cast<float>(b) - values[0]);
        });
    block_.codes[first] = static_cast<std::uint8_t>(nearest - kCodebook.begin());
    decoded[0] = scale * static_cast<float>(*nearest);
  }

  void pack(std::span<std::byte> block) const override { layout.pack(block_, block.data()); }

 private:
  CodebookBlock block_{};
};

template <const CodebookLayout& layout>
constexpr ScalarLayout kScalars = {.recipe = {.block = layout.block_size,
                                              .group = 32,
                                              .lowest = kCodebook.front(),
                                              .highest = kCodebook.back(),
                                              .table = kCodebook,
                                              .lowest_scale = layout.block_size == 32 ? 1 : -32,
                                              .highest_scale = layout.block_size == 32 ? 1 : 31,
                                              .highest_minimum = 0},
                                   .block_bytes = layout.block_bytes,
                                   .pack = [](const ScalarBlock& block, std::byte* out) {
                                     CodebookBlock packed{block.scale, {}, block.codes};
                                     std::copy_n(block.scale_codes.begin(), packed.scales.size(),
                                                 packed.scales.begin());
                                     layout.pack(packed, out);
                                   }};

template <const CodebookLayout& layout>
std::unique_ptr<BlockGrid> make_grid() {
  return std::make_unique<CodebookGrid<layout>>();
}

}  // namespace

extern constinit const Codec codec_iq4_nl{.type = TensorType::iq4_nl,
                                          .encode = encode<kLayoutNL>,
                                          .decode = decode_iq4_nl,
                                          .make_grid = make_grid<kLayoutNL>,
                                          .scalar = &kScalars<kLayoutNL>};
extern constinit const Codec codec_iq4_xs{.type = TensorType::iq4_xs,
                                          .encode = encode<kLayoutXS>,
                                          .decode = decode_iq4_xs,
                                          .make_grid = make_grid<kLayoutXS>,
                                          .scalar = &kScalars<kLayoutXS>};

}  // namespace qwodel
