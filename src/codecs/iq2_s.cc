// IQ2_S: 256 values in sixteen parts of 16, groups of eight from 1024 points; 2.5625 bits per
// weight.
#include <cstring>

#include "codecs/codebook_format.h"
#include "codecs/codec.h"
#include "codecs/iq_points.h"
#include "core/tensor_type.h"

namespace qwodel {
namespace {

struct BlockIq2S {
  std::uint16_t d;          // half
  std::uint8_t points[32];  // lower eight bits of the numbers of the points
  std::uint8_t signs[32];
  std::uint8_t points_high[8];  // two bits of each point, the first lowest
  std::uint8_t scales[8];       // pack_scales
};
static_assert(sizeof(BlockIq2S) == 82);

void pack_iq2_s(const PointBlock& block, std::byte* out) {
  BlockIq2S packed{block.scale, {}, {}, {}, {}};
  for (std::size_t k = 0; k < 32; ++k) {
    packed.points[k] = static_cast<std::uint8_t>(block.points[k]);
    packed.signs[k] = block.signs[k];
    std::uint8_t& high = packed.points_high[k / 4];
    high = static_cast<std::uint8_t>(high | block.points[k] >> 8 << 2 * (k % 4));
  }
  pack_scales(block, packed.scales);
  std::memcpy(out, &packed, sizeof(packed));
}

void unpack_iq2_s(const std::byte* in, PointBlock& block) {
  BlockIq2S packed;
  std::memcpy(&packed, in, sizeof(packed));
  block.scale = packed.d;
  for (std::size_t k = 0; k < 32; ++k) {
    const unsigned high = packed.points_high[k / 4] >> 2 * (k % 4) & 3u;
    block.points[k] = static_cast<std::uint16_t>(packed.points[k] | high << 8);
    block.signs[k] = packed.signs[k];
  }
  unpack_scales(packed.scales, block);
}

const Codebook& codebook() {
  static const Codebook book(kIq2SPoints, 8, 1);
  return book;
}

const std::uint64_t* expanded() {
  static const std::vector<std::uint64_t> points = expand_points(kIq2SPoints, 8, kIq2Levels);
  return points.data();
}

// Trials of quantize_row_iq2_s_impl, ggml-quants.c.
constexpr CodebookFormat kFormat = {
    .recipe = {.part = 16,
               .even_signs = false,
               .spread = 2.0f,
               .plain_spread = 0.25f,
               .least = 1e-8f,
               .fit_reach = false,
               .trials = 9,
               .trial_step = 0.1f,
               .final_search = FinalSearch::off_points,
               .closes_gaps = false,
               .fudge = 0.9875f},
    .width = 8,
    .levels = kIq2Levels,
    .factor = 0.25f,
    .codebook = codebook,
    .expanded = expanded,
    .block_bytes = sizeof(BlockIq2S),
    .pack = pack_iq2_s,
    .unpack = unpack_iq2_s,
};

void encode_iq2_s(const float* values, std::size_t rows, std::size_t cols, const float* importance,
                  std::byte* out) {
  encode_codebook(kFormat, values, rows, cols, importance, out);
}

void decode_iq2_s(const std::byte* in, std::size_t count, float* values) {
  decode_codebook(kFormat, in, count, values);
}

std::unique_ptr<BlockGrid> make_iq2_s_grid() { return make_codebook_grid(kFormat); }

}  // namespace

extern constinit const Codec codec_iq2_s{.type = TensorType::iq2_s,
                                         .encode = encode_iq2_s,
                                         .decode = decode_iq2_s,
                                         .make_grid = make_iq2_s_grid};

}  // namespace qwodel
