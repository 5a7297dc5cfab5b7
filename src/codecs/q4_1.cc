// Q4_1: 32 values, a half scale and minimum and 4-bit codes; 5 bits per weight. x = d * code + m.
#include <cstring>

#include "codecs/codec.h"
#include "codecs/small_blocks.h"
#include "core/half.h"

namespace qwodel {
namespace {

struct BlockQ41 {
  std::uint16_t d;         // half
  std::uint16_t m;         // half
  std::uint8_t codes[16];  // pack_nibbles
};
static_assert(sizeof(BlockQ41) == 20);

void pack_q4_1(const SmallBlock& block, std::byte* out) {
  BlockQ41 packed{block.scale, block.minimum, {}};
  pack_nibbles(block.codes.data(), packed.codes);
  std::memcpy(out, &packed, sizeof(packed));
}

constexpr SmallLayout kLayout = {
    .affine = true, .levels = 15, .block_bytes = sizeof(BlockQ41), .pack = pack_q4_1};

void encode_q4_1(const float* values, std::size_t rows, std::size_t cols, const float* importance,
                 std::byte* out) {
  encode_small(kLayout, values, rows, cols, importance, out);
}

void decode_q4_1(const std::byte* in, std::size_t count, float* values) {
  for (std::size_t b = 0; b < count / 32; ++b) {
    BlockQ41 block;
    std::memcpy(&block, in + b * sizeof(block), sizeof(block));
    const float d = half_to_float(block.d);
    const float m = half_to_float(block.m);
    float* out = values + 32 * b;
    for (std::size_t i = 0; i < 16; ++i) {
      out[i] = static_cast<float>(block.codes[i] & 15) * d + m;
      out[i + 16] = static_cast<float>(block.codes[i] >> 4) * d + m;
    }
  }
}

std::unique_ptr<BlockGrid> make_q4_1_grid() { return make_small_grid(kLayout); }

}  // namespace

extern constinit const Codec codec_q4_1{.type = TensorType::q4_1,
                                        .encode = encode_q4_1,
                                        .decode = decode_q4_1,
                                        .make_grid = make_q4_1_grid};

}  // namespace qwodel
