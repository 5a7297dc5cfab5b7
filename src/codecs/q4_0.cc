// Q4_0: 32 values, a half scale and 4-bit codes; 4.5 bits per weight. x = d * (code - 8).
#include <cstddef>
#include <cstring>

#include "codecs/codec.h"
#include "codecs/small_blocks.h"
#include "kernels/decode_blocks.h"

namespace qwodel {
namespace {

struct BlockQ40 {
  std::uint16_t d;         // half
  std::uint8_t codes[16];  // byte i: the lower four bits of code i, then of code i + 16
};
static_assert(sizeof(BlockQ40) == 18);

void pack_q4_0(std::span<const SmallBlock> blocks, std::byte* out) {
  for (const SmallBlock& block : blocks) {
    std::memcpy(out + offsetof(BlockQ40, d), &block.scale, sizeof(block.scale));
    std::memcpy(out + offsetof(BlockQ40, codes), block.nibbles.data(), sizeof(block.nibbles));
    out += sizeof(BlockQ40);
  }
}

constexpr SmallLayout kLayout = {
    .affine = false, .levels = 8, .block_bytes = sizeof(BlockQ40), .pack = pack_q4_0};

void encode_q4_0(const float* values, std::size_t rows, std::size_t cols, const float* importance,
                 std::byte* out) {
  encode_small(kLayout, values, rows, cols, importance, out);
}

void decode_q4_0(const std::byte* in, std::size_t count, float* values) {
  decode_small_blocks({.has_minimum = false, .has_fifth_bits = false, .offset = 8}, in, count / 32,
                      values);
}

std::unique_ptr<BlockGrid> make_q4_0_grid() { return make_small_grid(kLayout); }

}  // namespace

extern constinit const Codec codec_q4_0{.type = TensorType::q4_0,
                                        .encode = encode_q4_0,
                                        .decode = decode_q4_0,
                                        .make_grid = make_q4_0_grid,
                                        .scalar = &kSmallScalars<kLayout>};

}  // namespace qwodel
