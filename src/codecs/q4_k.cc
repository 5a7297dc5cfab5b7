// Q4_K: 256 values in eight sub-blocks of 32; 4.5 bits per weight.
// x = (d * scale) * code - dmin * minimum, with 6-bit scales and minimums and 4-bit codes.
#include <cstring>

#include "codecs/affine_k.h"
#include "codecs/codec.h"
#include "core/tensor_type.h"
#include "kernels/decode_blocks.h"

namespace qwodel {
namespace {

struct BlockQ4K {
  std::uint16_t d;          // half: scale of the scales
  std::uint16_t dmin;       // half: scale of the minimums
  std::uint8_t scales[12];  // pack_six_bit_scales
  std::uint8_t codes[128];  // 64 values in 32 bytes: byte i holds value i, then value i + 32
};
static_assert(sizeof(BlockQ4K) == 144);

void pack_q4_k(const AffineBlock& block, std::byte* out) {
  BlockQ4K packed{block.scale, block.minimum, {}, {}};
  pack_six_bit_scales(block, packed.scales);
  for (std::size_t chunk = 0; chunk < 4; ++chunk) {
    const std::uint8_t* codes = block.codes.data() + 64 * chunk;
    for (std::size_t i = 0; i < 32; ++i) {
      packed.codes[32 * chunk + i] = static_cast<std::uint8_t>(codes[i] | codes[i + 32] << 4);
    }
  }
  std::memcpy(out, &packed, sizeof(packed));
}

// Trials of quantize_row_q4_K_ref, ggml-quants.c.
constexpr AffineLayout kLayout = {
    .recipe = {.sub_block = 32,
               .levels = 15,
               .scale_levels = 63,
               .absolute = false,
               .first_trial = -1.0f,
               .trial_step = 0.1f,
               .trial_steps = 20,
               .spread = 2.0f,
               .clamps_searched_scales = false},
    .block_bytes = sizeof(BlockQ4K),
    .pack = pack_q4_k,
};

void encode_q4_k(const float* values, std::size_t rows, std::size_t cols, const float* importance,
                 std::byte* out) {
  encode_affine(kLayout, values, rows, cols, importance, out);
}

void decode_q4_k(const std::byte* in, std::size_t count, float* values) {
  for (std::size_t b = 0; b < count / kSuperBlock; ++b) {
    BlockQ4K block;
    std::memcpy(&block, in + b * sizeof(block), sizeof(block));
    float scale[8], minimum[8];
    unpack_six_bit_scales(block.scales, block.d, block.dmin, scale, minimum);
    decode_nibble_super_block(block.codes, nullptr, scale, minimum, values + b * kSuperBlock);
  }
}

std::unique_ptr<BlockGrid> make_q4_k_grid() { return make_affine_grid(kLayout); }

}  // namespace

extern constinit const Codec codec_q4_k{.type = TensorType::q4_k,
                                        .encode = encode_q4_k,
                                        .decode = decode_q4_k,
                                        .make_grid = make_q4_k_grid,
                                        .scalar = &kAffineScalars<kLayout>};

}  // namespace qwodel
