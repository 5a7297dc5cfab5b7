// Q4_0: 32 values, a half scale and 4-bit codes; 4.5 bits per weight. x = d * (code - 8).
#include <cstring>

#include "codecs/codec.h"
#include "codecs/small_blocks.h"
#include "core/half.h"

namespace qwodel {
namespace {

struct BlockQ40 {
  std::uint16_t d;         // half
  std::uint8_t codes[16];  // pack_nibbles
};
static_assert(sizeof(BlockQ40) == 18);

void pack_q4_0(const SmallBlock& block, std::byte* out) {
  BlockQ40 packed{block.scale, {}};
  pack_nibbles(block.codes.data(), packed.codes);
  std::memcpy(out, &packed, sizeof(packed));
}

constexpr SmallLayout kLayout = {
    .affine = false, .levels = 8, .block_bytes = sizeof(BlockQ40), .pack = pack_q4_0};

void encode_q4_0(const float* values, std::size_t rows, std::size_t cols, const float* importance,
                 std::byte* out) {
  encode_small(kLayout, values, rows, cols, importance, out);
}

void decode_q4_0(const std::byte* in, std::size_t count, float* values) {
  for (std::size_t b = 0; b < count / 32; ++b) {
    BlockQ40 block;
    std::memcpy(&block, in + b * sizeof(block), sizeof(block));
    const float d = half_to_float(block.d);
    float* out = values + 32 * b;
    for (std::size_t i = 0; i < 16; ++i) {
      out[i] = static_cast<float>((block.codes[i] & 15) - 8) * d;
      out[i + 16] = static_cast<float>((block.codes[i] >> 4) - 8) * d;
    }
  }
}

std::unique_ptr<BlockGrid> make_q4_0_grid() { return make_small_grid(kLayout); }

}  // namespace

extern constinit const Codec codec_q4_0{.type = TensorType::q4_0,
                                        .encode = encode_q4_0,
                                        .decode = decode_q4_0,
                                        .make_grid = make_q4_0_grid};

}  // namespace qwodel
