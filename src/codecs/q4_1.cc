// Q4_1: 32 values, a half scale and minimum and 4-bit codes; 5 bits per weight. x = d * code + m.
#include <cstddef>
#include <cstring>

#include "codecs/codec.h"
#include "codecs/small_blocks.h"
#include "kernels/decode_blocks.h"

namespace qwodel {
namespace {

struct BlockQ41 {
  std::uint16_t d;         // half
  std::uint16_t m;         // half
  std::uint8_t codes[16];  // byte i: the lower four bits of code i, then of code i + 16
};
static_assert(sizeof(BlockQ41) == 20);

void pack_q4_1(std::span<const SmallBlock> blocks, std::byte* out) {
  for (const SmallBlock& block : blocks) {
    std::memcpy(out + offsetof(BlockQ41, d), &block.scale, sizeof(block.scale));
    std::memcpy(out + offsetof(BlockQ41, m), &block.minimum, sizeof(block.minimum));
    std::memcpy(out + offsetof(BlockQ41, codes), block.nibbles.data(), sizeof(block.nibbles));
    out += sizeof(BlockQ41);
  }
}

constexpr SmallLayout kLayout = {
    .affine = true, .levels = 15, .block_bytes = sizeof(BlockQ41), .pack = pack_q4_1};

void encode_q4_1(const float* values, std::size_t rows, std::size_t cols, const float* importance,
                 std::byte* out) {
  encode_small(kLayout, values, rows, cols, importance, out);
}

void decode_q4_1(const std::byte* in, std::size_t count, float* values) {
  decode_small_blocks({.has_minimum = true, .has_fifth_bits = false, .offset = 0}, in, count / 32,
                      values);
}

std::unique_ptr<BlockGrid> make_q4_1_grid() { return make_small_grid(kLayout); }

}  // namespace

extern constinit const Codec codec_q4_1{.type = TensorType::q4_1,
                                        .encode = encode_q4_1,
                                        .decode = decode_q4_1,
                                        .make_grid = make_q4_1_grid,
                                        .scalar = &kSmallScalars<kLayout>};

}  // namespace qwodel
