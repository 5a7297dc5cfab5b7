// Q5_K: 256 values in eight sub-blocks of 32; 5.5 bits per weight.
// x = (d * scale) * code - dmin * minimum, with 6-bit scales and minimums and 5-bit codes.
#include <cstring>

#include "codecs/affine_k.h"
#include "codecs/codec.h"
#include "kernels/decode_blocks.h"

namespace qwodel {
namespace {

struct BlockQ5K {
  std::uint16_t d;          // half: scale of the scales
  std::uint16_t dmin;       // half: scale of the minimums
  std::uint8_t scales[12];  // pack_six_bit_scales
  std::uint8_t high[32];    // value i: bit i / 32 of byte i % 32 is the upper bit of its code
  std::uint8_t low[128];    // 64 values in 32 bytes: byte i holds low nibbles of value i and i + 32
};
static_assert(sizeof(BlockQ5K) == 176);

void pack_q5_k(const AffineBlock& block, std::byte* out) {
  BlockQ5K packed{block.scale, block.minimum, {}, {}, {}};
  pack_six_bit_scales(block, packed.scales);
  for (std::size_t i = 0; i < 32; ++i) {
    unsigned high = 0;
    for (std::size_t k = 0; k < 8; ++k)
      high |= static_cast<unsigned>(block.codes[32 * k + i] >> 4) << k;
    packed.high[i] = static_cast<std::uint8_t>(high);
  }
  for (std::size_t chunk = 0; chunk < 4; ++chunk) {
    const std::uint8_t* code = block.codes.data() + 64 * chunk;
    for (std::size_t i = 0; i < 32; ++i) {
      packed.low[32 * chunk + i] =
          static_cast<std::uint8_t>((code[i] & 15) | (code[i + 32] & 15) << 4);
    }
  }
  std::memcpy(out, &packed, sizeof(packed));
}

// Trials of quantize_row_q5_K_ref, ggml-quants.c.
constexpr AffineLayout kLayout = {
    .recipe = {.sub_block = 32,
               .levels = 31,
               .scale_levels = 63,
               .absolute = false,
               .first_trial = -0.5f,
               .trial_step = 0.1f,
               .trial_steps = 15,
               .spread = 2.0f,
               .clamps_searched_scales = true},
    .block_bytes = sizeof(BlockQ5K),
    .pack = pack_q5_k,
};

void encode_q5_k(const float* values, std::size_t rows, std::size_t cols, const float* importance,
                 std::byte* out) {
  encode_affine(kLayout, values, rows, cols, importance, out);
}

void decode_q5_k(const std::byte* in, std::size_t count, float* values) {
  for (std::size_t b = 0; b < count / kSuperBlock; ++b) {
    BlockQ5K block;
    std::memcpy(&block, in + b * sizeof(block), sizeof(block));
    float scale[8], minimum[8];
    unpack_six_bit_scales(block.scales, block.d, block.dmin, scale, minimum);
    decode_nibble_super_block(block.low, block.high, scale, minimum, values + b * kSuperBlock);
  }
}

std::unique_ptr<BlockGrid> make_q5_k_grid() { return make_affine_grid(kLayout); }

}  // namespace

extern constinit const Codec codec_q5_k{.type = TensorType::q5_k,
                                        .encode = encode_q5_k,
                                        .decode = decode_q5_k,
                                        .make_grid = make_q5_k_grid,
                                        .scalar = &kAffineScalars<kLayout>};

}  // namespace qwodel
