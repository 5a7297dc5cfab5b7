// IQ3_XXS: 256 values in eight parts of 32, groups of four from 256 points; 3.0625 bits per weight.
#include <cstring>

#include "codecs/codebook_format.h"
#include "codecs/codec.h"
#include "codecs/iq_points.h"
#include "core/tensor_type.h"

namespace qwodel {
namespace {

constexpr std::array<std::uint8_t, 8> kLevels = {4, 12, 20, 28, 36, 44, 52, 62};

struct BlockIq3Xxs {
  std::uint16_t d;                      // half
  std::uint8_t points[64];              // numbers of the points
  std::uint8_t signs_and_scales[8][4];  // of each part: four times seven signs and the scale code
};
static_assert(sizeof(BlockIq3Xxs) == 98);

void pack_iq3_xxs(const PointBlock& block, std::byte* out) {
  BlockIq3Xxs packed{block.scale, {}, {}};
  for (std::size_t k = 0; k < 64; ++k) {
    packed.points[k] = static_cast<std::uint8_t>(block.points[k]);
  }
  for (std::size_t p = 0; p < 8; ++p) {
    const std::uint32_t word = pack_signs_and_scale(&block.signs[4 * p], block.scales[p]);
    std::memcpy(packed.signs_and_scales[p], &word, sizeof(word));
  }
  std::memcpy(out, &packed, sizeof(packed));
}

void unpack_iq3_xxs(const std::byte* in, PointBlock& block) {
  BlockIq3Xxs packed;
  std::memcpy(&packed, in, sizeof(packed));
  block.scale = packed.d;
  for (std::size_t k = 0; k < 64; ++k) block.points[k] = packed.points[k];
  for (std::size_t p = 0; p < 8; ++p) {
    std::uint32_t word;
    std::memcpy(&word, packed.signs_and_scales[p], sizeof(word));
    unpack_signs_and_scale(word, &block.signs[4 * p], block.scales[p]);
  }
}

const Codebook& codebook() {
  static const Codebook book(kIq3XxsPoints, 4, 2);
  return book;
}

const std::uint64_t* expanded() {
  static const std::vector<std::uint64_t> points = expand_points(kIq3XxsPoints, 4, kLevels);
  return points.data();
}

// Trials of quantize_row_iq3_xxs_impl, ggml-quants.c.
constexpr CodebookFormat kFormat = {
    .recipe = {.part = 32,
               .even_signs = true,
               .spread = 2.0f,
               .plain_spread = 0.0f,
               .least = 1e-8f,
               .fit_reach = false,
               .trials = 15,
               .trial_step = 0.2f,
               .final_search = FinalSearch::off_points,
               .closes_gaps = false,
               .fudge = 1.0125f},
    .width = 4,
    .levels = kLevels,
    .factor = 0.5f,
    .codebook = codebook,
    .expanded = expanded,
    .block_bytes = sizeof(BlockIq3Xxs),
    .pack = pack_iq3_xxs,
    .unpack = unpack_iq3_xxs,
};

void encode_iq3_xxs(const float* values, std::size_t rows, std::size_t cols,
                    const float* importance, std::byte* out) {
  encode_codebook(kFormat, values, rows, cols, importance, out);
}

void decode_iq3_xxs(const std::byte* in, std::size_t count, float* values) {
  decode_codebook(kFormat, in, count, values);
}

std::unique_ptr<BlockGrid> make_iq3_xxs_grid() { return make_codebook_grid(kFormat); }

}  // namespace

extern constinit const Codec codec_iq3_xxs{.type = TensorType::iq3_xxs,
                                           .encode = encode_iq3_xxs,
                                           .decode = decode_iq3_xxs,
                                           .make_grid = make_iq3_xxs_grid};

}  // namespace qwodel
