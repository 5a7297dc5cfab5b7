// Q2_K: 256 values in sixteen sub-blocks of 16; 2.625 bits per weight.
// x = (d * scale) * code - dmin * minimum, with 4-bit scales and minimums and 2-bit codes.
#include <cstring>

#include "codecs/affine_k.h"
#include "codecs/codec.h"
#include "core/half.h"

namespace qwodel {
namespace {

struct BlockQ2K {
  std::uint8_t scales[16];  // low nibble: scale, high nibble: minimum
  std::uint8_t codes[64];   // 128 values in 32 bytes: byte i holds i, i + 32, i + 64, i + 96
  std::uint16_t d;          // half: scale of the scales
  std::uint16_t dmin;       // half: scale of the minimums
};
static_assert(sizeof(BlockQ2K) == 84);

void pack_q2_k(const AffineBlock& block, std::byte* out) {
  BlockQ2K packed{};
  for (std::size_t s = 0; s < 16; ++s) {
    packed.scales[s] = static_cast<std::uint8_t>(block.scales[s] | block.mins[s] << 4);
  }
  for (std::size_t half = 0; half < 2; ++half) {
    const std::uint8_t* code = block.codes.data() + 128 * half;
    for (std::size_t i = 0; i < 32; ++i) {
      packed.codes[32 * half + i] = static_cast<std::uint8_t>(
          code[i] | code[i + 32] << 2 | code[i + 64] << 4 | code[i + 96] << 6);
    }
  }
  packed.d = block.scale;
  packed.dmin = block.minimum;
  std::memcpy(out, &packed, sizeof(packed));
}

// Trials of quantize_row_q2_K_ref, ggml-quants.c.
constexpr AffineLayout kLayout = {
    .recipe = {.sub_block = 16,
               .levels = 3,
               .scale_levels = 15,
               .absolute = true,
               .first_trial = -0.5f,
               .trial_step = 0.1f,
               .trial_steps = 15,
               .spread = 1.0f,
               .clamps_searched_scales = false},
    .block_bytes = sizeof(BlockQ2K),
    .pack = pack_q2_k,
};

void encode_q2_k(const float* values, std::size_t rows, std::size_t cols, const float* importance,
                 std::byte* out) {
  encode_affine(kLayout, values, rows, cols, importance, out);
}

void decode_q2_k(const std::byte* in, std::size_t count, float* values) {
  for (std::size_t b = 0; b < count / kSuperBlock; ++b) {
    BlockQ2K block;
    std::memcpy(&block, in + b * sizeof(block), sizeof(block));
    const float d = half_to_float(block.d);
    const float dmin = half_to_float(block.dmin);
    for (std::size_t s = 0; s < 16; ++s) {
      const float scale = d * static_cast<float>(block.scales[s] & 15);
      const float minimum = dmin * static_cast<float>(block.scales[s] >> 4);
      const std::uint8_t* codes = block.codes + s / 8 * 32 + s % 2 * 16;
      float* out = values + b * kSuperBlock + s * 16;
      for (std::size_t i = 0; i < 16; ++i) {
        const int code = codes[i] >> (s / 2 % 4 * 2) & 3;
        out[i] = scale * static_cast<float>(code) - minimum;
      }
    }
  }
}

std::unique_ptr<BlockGrid> make_q2_k_grid() { return make_affine_grid(kLayout); }

}  // namespace

extern constinit const Codec codec_q2_k{.type = TensorType::q2_k,
                                        .encode = encode_q2_k,
                                        .decode = decode_q2_k,
                                        .make_grid = make_q2_k_grid,
                                        .scalar = &kAffineScalars<kLayout>};

}  // namespace qwodel
