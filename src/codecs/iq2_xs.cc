// IQ2_XS: 256 values in sixteen parts of 16, groups of eight from 512 points; 2.3125 bits per
// weight.
#include <cstring>

#include "codecs/codebook_format.h"
#include "codecs/codec.h"
#include "codecs/iq_points.h"
#include "core/tensor_type.h"

namespace qwodel {
namespace {

struct BlockIq2Xs {
  std::uint16_t d;           // half
  std::uint16_t groups[32];  // number of the point (nine bits), then seven signs
  std::uint8_t scales[8];    // pack_scales
};
static_assert(sizeof(BlockIq2Xs) == 74);

void pack_iq2_xs(const PointBlock& block, std::byte* out) {
  BlockIq2Xs packed{block.scale, {}, {}};
  for (std::size_t k = 0; k < 32; ++k) {
    packed.groups[k] = static_cast<std::uint16_t>(block.points[k] | (block.signs[k] & 127u) << 9);
  }
  pack_scales(block, packed.scales);
  std::memcpy(out, &packed, sizeof(packed));
}

void unpack_iq2_xs(const std::byte* in, PointBlock& block) {
  BlockIq2Xs packed;
  std::memcpy(&packed, in, sizeof(packed));
  block.scale = packed.d;
  for (std::size_t k = 0; k < 32; ++k) {
    block.points[k] = packed.groups[k] & 511u;
    block.signs[k] = with_eighth_sign(static_cast<unsigned>(packed.groups[k]) >> 9);
  }
  unpack_scales(packed.scales, block);
}

const Codebook& codebook() {
  static const Codebook book(kIq2XsPoints, 8, 2);
  return book;
}

const std::uint64_t* expanded() {
  static const std::vector<std::uint64_t> points = expand_points(kIq2XsPoints, 8, kIq2Levels);
  return points.data();
}

// Trials of quantize_row_iq2_xs_impl, ggml-quants.c.
constexpr CodebookFormat kFormat = {
    .recipe = {.part = 16,
               .even_signs = true,
               .spread = 1.0f,
               .plain_spread = -1.0f,
               .least = 1e-15f,
               .fit_reach = false,
               .trials = 9,
               .trial_step = 0.1f,
               .final_search = FinalSearch::off_points,
               .closes_gaps = false,
               .fudge = 1.0f},
    .width = 8,
    .levels = kIq2Levels,
    .factor = 0.25f,
    .codebook = codebook,
    .expanded = expanded,
    .block_bytes = sizeof(BlockIq2Xs),
    .pack = pack_iq2_xs,
    .unpack = unpack_iq2_xs,
};

void encode_iq2_xs(const float* values, std::size_t rows, std::size_t cols, const float* importance,
                   std::byte* out) {
  encode_codebook(kFormat, values, rows, cols, importance, out);
}

void decode_iq2_xs(const std::byte* in, std::size_t count, float* values) {
  decode_codebook(kFormat, in, count, values);
}

std::unique_ptr<BlockGrid> make_iq2_xs_grid() { return make_codebook_grid(kFormat); }

}  // namespace

extern constinit const Codec codec_iq2_xs{.type = TensorType::iq2_xs,
                                          .needs_importance = true,
                                          .encode = encode_iq2_xs,
                                          .decode = decode_iq2_xs,
                                          .make_grid = make_iq2_xs_grid};

}  // namespace qwodel
