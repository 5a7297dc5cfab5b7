// IQ2_XXS: 256 values in eight parts of 32, groups of eight from 256 points; 2.0625 bits per
// weight.
#include <cstring>

#include "codecs/codebook_format.h"
#include "codecs/codec.h"
#include "codecs/iq_points.h"
#include "core/tensor_type.h"

namespace qwodel {
namespace {

struct BlockIq2Xxs {
  std::uint16_t d;  // half
  // Of each part: the numbers of four points, then four times seven signs and the scale code.
  std::uint8_t parts[8][8];
};
static_assert(sizeof(BlockIq2Xxs) == 66);

void pack_iq2_xxs(const PointBlock& block, std::byte* out) {
  BlockIq2Xxs packed{block.scale, {}};
  for (std::size_t p = 0; p < 8; ++p) {
    for (std::size_t k = 0; k < 4; ++k) {
      packed.parts[p][k] = static_cast<std::uint8_t>(block.points[4 * p + k]);
    }
    const std::uint32_t word = pack_signs_and_scale(&block.signs[4 * p], block.scales[p]);
    std::memcpy(packed.parts[p] + 4, &word, sizeof(word));
  }
  std::memcpy(out, &packed, sizeof(packed));
}

void unpack_iq2_xxs(const std::byte* in, PointBlock& block) {
  BlockIq2Xxs packed;
  std::memcpy(&packed, in, sizeof(packed));
  block.scale = packed.d;
  for (std::size_t p = 0; p < 8; ++p) {
    for (std::size_t k = 0; k < 4; ++k) block.points[4 * p + k] = packed.parts[p][k];
    std::uint32_t word;
    std::memcpy(&word, packed.parts[p] + 4, sizeof(word));
    unpack_signs_and_scale(word, &block.signs[4 * p], block.scales[p]);
  }
}

const Codebook& codebook() {
  static const Codebook book(kIq2XxsPoints, 8, 2);
  return book;
}

const std::uint64_t* expanded() {
  static const std::vector<std::uint64_t> points = expand_points(kIq2XxsPoints, 8, kIq2Levels);
  return points.data();
}

// Trials of quantize_row_iq2_xxs_impl, ggml-quants.c.
constexpr CodebookFormat kFormat = {
    .recipe = {.part = 32,
               .even_signs = true,
               .spread = 1.0f,
               .plain_spread = -1.0f,
               .least = 1e-15f,
               .fit_reach = true,
               .trials = 6,
               .trial_step = 0.1f,
               .final_search = FinalSearch::always,
               .closes_gaps = false,
               .fudge = 1.0f},
    .width = 8,
    .levels = kIq2Levels,
    .factor = 0.25f,
    .codebook = codebook,
    .expanded = expanded,
    .block_bytes = sizeof(BlockIq2Xxs),
    .pack = pack_iq2_xxs,
    .unpack = unpack_iq2_xxs,
};

void encode_iq2_xxs(const float* values, std::size_t rows, std::size_t cols,
                    const float* importance, std::byte* out) {
  encode_codebook(kFormat, values, rows, cols, importance, out);
}

void decode_iq2_xxs(const std::byte* in, std::size_t count, float* values) {
  decode_codebook(kFormat, in, count, values);
}

std::unique_ptr<BlockGrid> make_iq2_xxs_grid() { return make_codebook_grid(kFormat); }

}  // namespace

extern constinit const Codec codec_iq2_xxs{.type = TensorType::iq2_xxs,
                                           .needs_importance = true,
                                           .encode = encode_iq2_xxs,
                                           .decode = decode_iq2_xxs,
                                           .make_grid = make_iq2_xxs_grid};

}  // namespace qwodel
