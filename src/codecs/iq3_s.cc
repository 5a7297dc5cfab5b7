// IQ3_S: 256 values in eight parts of 32, groups of four from 512 points; 3.4375 bits per weight.
#include <algorithm>
#include <cstring>
#include <iterator>

#include "codecs/codebook_format.h"
#include "codecs/codec.h"
#include "codecs/iq_points.h"
#include "core/tensor_type.h"

namespace qwodel {
namespace {

constexpr std::array<std::uint8_t, 8> kLevels = {1, 3, 5, 7, 9, 11, 13, 15};

struct BlockIq3S {
  std::uint16_t d;              // half
  std::uint8_t points[64];      // lower eight bits of the numbers of the points
  std::uint8_t points_high[8];  // one bit of each point, the first lowest
  std::uint8_t signs[32];
  std::uint8_t scales[4];  // pack_scales
};
static_assert(sizeof(BlockIq3S) == 110);

void pack_iq3_s(const PointBlock& block, std::byte* out) {
  BlockIq3S packed{block.scale, {}, {}, {}, {}};
  for (std::size_t k = 0; k < 64; ++k) {
    packed.points[k] = static_cast<std::uint8_t>(block.points[k]);
    std::uint8_t& high = packed.points_high[k / 8];
    high = static_cast<std::uint8_t>(high | block.points[k] >> 8 << k % 8);
  }
  std::copy(block.signs.begin(), block.signs.end(), packed.signs);
  pack_scales(block, packed.scales);
  std::memcpy(out, &packed, sizeof(packed));
}

void unpack_iq3_s(const std::byte* in, PointBlock& block) {
  BlockIq3S packed;
  std::memcpy(&packed, in, sizeof(packed));
  block.scale = packed.d;
  for (std::size_t k = 0; k < 64; ++k) {
    const unsigned high = packed.points_high[k / 8] >> k % 8 & 1u;
    block.points[k] = static_cast<std::uint16_t>(packed.points[k] | high << 8);
  }
  std::copy(std::begin(packed.signs), std::end(packed.signs), block.signs.begin());
  unpack_scales(packed.scales, block);
}

const Codebook& codebook() {
  static const Codebook book(kIq3SPoints, 4, 3);
  return book;
}

const std::uint64_t* expanded() {
  static const std::vector<std::uint64_t> points = expand_points(kIq3SPoints, 4, kLevels);
  return points.data();
}

// Trials of quantize_row_iq3_s_impl, ggml-quants.c.
constexpr CodebookFormat kFormat = {
    .recipe = {.part = 32,
               .even_signs = false,
               .spread = 2.0f,
               .plain_spread = 0.0f,
               .least = 0.0f,
               .fit_reach = false,
               .trials = 9,
               .trial_step = 0.2f,
               .final_search = FinalSearch::whole_part,
               .closes_gaps = true,
               .fudge = 1.033f},
    .width = 4,
    .levels = kLevels,
    .factor = 2.0f,
    .codebook = codebook,
    .expanded = expanded,
    .block_bytes = sizeof(BlockIq3S),
    .pack = pack_iq3_s,
    .unpack = unpack_iq3_s,
};

void encode_iq3_s(const float* values, std::size_t rows, std::size_t cols, const float* importance,
                  std::byte* out) {
  encode_codebook(kFormat, values, rows, cols, importance, out);
}

void decode_iq3_s(const std::byte* in, std::size_t count, float* values) {
  decode_codebook(kFormat, in, count, values);
}

std::unique_ptr<BlockGrid> make_iq3_s_grid() { return make_codebook_grid(kFormat); }

}  // namespace

extern constinit const Codec codec_iq3_s{.type = TensorType::iq3_s,
                                         .encode = encode_iq3_s,
                                         .decode = decode_iq3_s,
                                         .make_grid = make_iq3_s_grid};

}  // namespace qwodel
