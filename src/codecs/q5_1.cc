// Q5_1: 32 values, a half scale and minimum and 5-bit codes; 6 bits per weight. x = d * code + m.
#include <cstddef>
#include <cstring>

#include "codecs/codec.h"
#include "codecs/small_blocks.h"
#include "kernels/decode_blocks.h"

namespace qwodel {
namespace {

struct BlockQ51 {
  std::uint16_t d;       // half
  std::uint16_t m;       // half
  std::uint8_t high[4];  // bit i of the little-endian word: the fifth bit of code i
  std::uint8_t low[16];  // byte i: the lower four bits of code i, then of code i + 16
};
static_assert(sizeof(BlockQ51) == 24);

void pack_q5_1(std::span<const SmallBlock> blocks, std::byte* out) {
  for (const SmallBlock& block : blocks) {
    std::memcpy(out + offsetof(BlockQ51, d), &block.scale, sizeof(block.scale));
    std::memcpy(out + offsetof(BlockQ51, m), &block.minimum, sizeof(block.minimum));
    std::memcpy(out + offsetof(BlockQ51, high), &block.fifth_bits, sizeof(block.fifth_bits));
    std::memcpy(out + offsetof(BlockQ51, low), block.nibbles.data(), sizeof(block.nibbles));
    out += sizeof(BlockQ51);
  }
}

constexpr SmallLayout kLayout = {
    .affine = true, .levels = 31, .block_bytes = sizeof(BlockQ51), .pack = pack_q5_1};

void encode_q5_1(const float* values, std::size_t rows, std::size_t cols, const float* importance,
                 std::byte* out) {
  encode_small(kLayout, values, rows, cols, importance, out);
}

void decode_q5_1(const std::byte* in, std::size_t count, float* values) {
  decode_small_blocks({.has_minimum = true, .has_fifth_bits = true, .offset = 0}, in, count / 32,
                      values);
}

std::unique_ptr<BlockGrid> make_q5_1_grid() { return make_small_grid(kLayout); }

}  // namespace

extern constinit const Codec codec_q5_1{.type = TensorType::q5_1,
                                        .encode = encode_q5_1,
                                        .decode = decode_q5_1,
                                        .make_grid = make_q5_1_grid,
                                        .scalar = &kSmallScalars<kLayout>};

}  // namespace qwodel
