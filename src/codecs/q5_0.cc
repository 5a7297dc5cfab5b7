// Q5_0: 32 values, a half scale and 5-bit codes; 5.5 bits per weight. x = d * (code - 16).
#include <cstring>

#include "codecs/codec.h"
#include "codecs/small_blocks.h"
#include "core/half.h"

namespace qwodel {
namespace {

struct BlockQ50 {
  std::uint16_t d;       // half
  std::uint8_t high[4];  // bit i of the little-endian word: the upper bit of code i
  std::uint8_t low[16];  // pack_nibbles
};
static_assert(sizeof(BlockQ50) == 22);

void pack_q5_0(const SmallBlock& block, std::byte* out) {
  BlockQ50 packed{block.scale, {}, {}};
  pack_nibbles(block.codes.data(), packed.low);
  const std::uint32_t high = pack_fifth_bits(block.codes.data());
  std::memcpy(packed.high, &high, sizeof(high));
  std::memcpy(out, &packed, sizeof(packed));
}

constexpr SmallLayout kLayout = {
    .affine = false, .levels = 16, .block_bytes = sizeof(BlockQ50), .pack = pack_q5_0};

void encode_q5_0(const float* values, std::size_t rows, std::size_t cols, const float* importance,
                 std::byte* out) {
  encode_small(kLayout, values, rows, cols, importance, out);
}

void decode_q5_0(const std::byte* in, std::size_t count, float* values) {
  for (std::size_t b = 0; b < count / 32; ++b) {
    BlockQ50 block;
    std::memcpy(&block, in + b * sizeof(block), sizeof(block));
    const float d = half_to_float(block.d);
    std::uint32_t high;
    std::memcpy(&high, block.high, sizeof(high));
    float* out = values + 32 * b;
    for (std::size_t i = 0; i < 16; ++i) {
      out[i] =
          static_cast<float>(
              (static_cast<int>(block.low[i] & 15) | static_cast<int>(high >> i & 1u) << 4) - 16) *
          d;
      out[i + 16] = static_cast<float>((static_cast<int>(block.low[i] >> 4) |
                                        static_cast<int>(high >> (i + 16) & 1u) << 4) -
                                       16) *
                    d;
    }
  }
}

std::unique_ptr<BlockGrid> make_q5_0_grid() { return make_small_grid(kLayout); }

}  // namespace

extern constinit const Codec codec_q5_0{.type = TensorType::q5_0,
                                        .encode = encode_q5_0,
                                        .decode = decode_q5_0,
                                        .make_grid = make_q5_0_grid};

}  // namespace qwodel
