// Q5_1: 32 values, a half scale and minimum and 5-bit codes; 6 bits per weight. x = d * code + m.
#include <cstring>

#include "codecs/codec.h"
#include "codecs/small_blocks.h"
#include "core/half.h"

namespace qwodel {
namespace {

struct BlockQ51 {
  std::uint16_t d;       // half
  std::uint16_t m;       // half
  std::uint8_t high[4];  // bit i of the little-endian word: the upper bit of code i
  std::uint8_t low[16];  // pack_nibbles
};
static_assert(sizeof(BlockQ51) == 24);

void pack_q5_1(const SmallBlock& block, std::byte* out) {
  BlockQ51 packed{block.scale, block.minimum, {}, {}};
  pack_nibbles(block.codes.data(), packed.low);
  const std::uint32_t high = pack_fifth_bits(block.codes.data());
  std::memcpy(packed.high, &high, sizeof(high));
  std::memcpy(out, &packed, sizeof(packed));
}

constexpr SmallLayout kLayout = {
    .affine = true, .levels = 31, .block_bytes = sizeof(BlockQ51), .pack = pack_q5_1};

void encode_q5_1(const float* values, std::size_t rows, std::size_t cols, const float* importance,
                 std::byte* out) {
  encode_small(kLayout, values, rows, cols, importance, out);
}

void decode_q5_1(const std::byte* in, std::size_t count, float* values) {
  for (std::size_t b = 0; b < count / 32; ++b) {
    BlockQ51 block;
    std::memcpy(&block, in + b * sizeof(block), sizeof(block));
    const float d = half_to_float(block.d);
    const float m = half_to_float(block.m);
    std::uint32_t high;
    std::memcpy(&high, block.high, sizeof(high));
    float* out = values + 32 * b;
    for (std::size_t i = 0; i < 16; ++i) {
      out[i] = static_cast<float>(static_cast<int>(block.low[i] & 15) |
                                  static_cast<int>(high >> i & 1u) << 4) *
                   d +
               m;
      out[i + 16] = static_cast<float>(static_cast<int>(block.low[i] >> 4) |
                                       static_cast<int>(high >> (i + 16) & 1u) << 4) *
                        d +
                    m;
    }
  }
}

std::unique_ptr<BlockGrid> make_q5_1_grid() { return make_small_grid(kLayout); }

}  // namespace

extern constinit const Codec codec_q5_1{.type = TensorType::q5_1,
                                        .encode = encode_q5_1,
                                        .decode = decode_q5_1,
                                        .make_grid = make_q5_1_grid};

}  // namespace qwodel
