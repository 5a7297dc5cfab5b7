// Q5_0: 32 values, a half scale and 5-bit codes; 5.5 bits per weight. x = d * (code - 16).
#include <cstddef>
#include <cstring>

#include "codecs/codec.h"
#include "codecs/small_blocks.h"
#include "kernels/decode_blocks.h"

namespace qwodel {
namespace {

struct BlockQ50 {
  std::uint16_t d;       // half
  std::uint8_t high[4];  // bit i of the little-endian word: the fifth bit of code i
  std::uint8_t low[16];  // byte i: the lower four bits of code i, then of code i + 16
};
static_assert(sizeof(BlockQ50) == 22);

void pack_q5_0(std::span<const SmallBlock> blocks, std::byte* out) {
  for (const SmallBlock& block : blocks) {
    std::memcpy(out + offsetof(BlockQ50, d), &block.scale, sizeof(block.scale));
    std::memcpy(out + offsetof(BlockQ50, high), &block.fifth_bits, sizeof(block.fifth_bits));
    std::memcpy(out + offsetof(BlockQ50, low), block.nibbles.data(), sizeof(block.nibbles));
    out += sizeof(BlockQ50);
  }
}

constexpr SmallLayout kLayout = {
    .affine = false, .levels = 16, .block_bytes = sizeof(BlockQ50), .pack = pack_q5_0};

void encode_q5_0(const float* values, std::size_t rows, std::size_t cols, const float* importance,
                 std::byte* out) {
  encode_small(kLayout, values, rows, cols, importance, out);
}

void decode_q5_0(const std::byte* in, std::size_t count, float* values) {
  decode_small_blocks({.has_minimum = false, .has_fifth_bits = true, .offset = 16}, in, count / 32,
                      values);
}

std::unique_ptr<BlockGrid> make_q5_0_grid() { return make_small_grid(kLayout); }

}  // namespace

extern constinit const Codec codec_q5_0{.type = TensorType::q5_0,
                                        .encode = encode_q5_0,
                                        .decode = decode_q5_0,
                                        .make_grid = make_q5_0_grid,
                                        .scalar = &kSmallScalars<kLayout>};

}  // namespace qwodel
