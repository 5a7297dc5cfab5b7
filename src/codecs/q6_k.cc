// Q6_K: 256 values in sixteen sub-blocks of 16; 6.5625 bits per weight.
// x = (d * scale) * (code - 32), with 8-bit scales and 6-bit codes.
#include <cstring>

#include "codecs/codec.h"
#include "codecs/symmetric_k.h"
#include "core/half.h"

namespace qwodel {
namespace {

// Of each 128 values, with i = 0 ... 31:
struct BlockQ6K {
  std::uint8_t low[128];  // byte i: low nibbles of i and i + 64; byte 32 + i: of i + 32 and i + 96
  std::uint8_t high[64];  // byte i: upper two bits of i, i + 32, i + 64, i + 96
  std::int8_t scales[16];
  std::uint16_t d;  // half
};
static_assert(sizeof(BlockQ6K) == 210);

void pack_q6_k(const SymmetricBlock& block, std::byte* out) {
  BlockQ6K packed{};
  for (std::size_t half = 0; half < 2; ++half) {
    const std::uint8_t* code = block.codes.data() + 128 * half;
    std::uint8_t* low = packed.low + 64 * half;
    std::uint8_t* high = packed.high + 32 * half;
    for (std::size_t i = 0; i < 32; ++i) {
      low[i] = static_cast<std::uint8_t>((code[i] & 15) | (code[i + 64] & 15) << 4);
      low[i + 32] = static_cast<std::uint8_t>((code[i + 32] & 15) | (code[i + 96] & 15) << 4);
      high[i] = static_cast<std::uint8_t>(code[i] >> 4 | code[i + 32] >> 4 << 2 |
                                          code[i + 64] >> 4 << 4 | code[i + 96] >> 4 << 6);
    }
  }
  std::memcpy(packed.scales, block.scales.data(), sizeof(packed.scales));
  packed.d = block.scale;
  std::memcpy(out, &packed, sizeof(packed));
}

constexpr SymmetricLayout kLayout = {
    .recipe = {.kind = SymmetricKind::q6_k, .levels = 32, .scale_levels = 128},
    .block_bytes = sizeof(BlockQ6K),
    .pack = pack_q6_k,
};

void encode_q6_k(const float* values, std::size_t rows, std::size_t cols, const float* importance,
                 std::byte* out) {
  encode_symmetric(kLayout, values, rows, cols, importance, out);
}

void decode_q6_k(const std::byte* in, std::size_t count, float* values) {
  for (std::size_t b = 0; b < count / 256; ++b) {
    BlockQ6K block;
    std::memcpy(&block, in + b * sizeof(block), sizeof(block));
    const float d = half_to_float(block.d);
    for (std::size_t s = 0; s < 16; ++s) {
      const float step = d * static_cast<float>(block.scales[s]);
      const std::size_t chunk = s / 2 % 4;  // of 32 values, within 128
      const std::uint8_t* low = block.low + s / 8 * 64 + chunk % 2 * 32 + s % 2 * 16;
      const std::uint8_t* high = block.high + s / 8 * 32 + s % 2 * 16;
      float* out = values + b * 256 + s * 16;
      for (std::size_t i = 0; i < 16; ++i) {
        const int code = (low[i] >> (chunk / 2 * 4) & 15) | (high[i] >> (chunk * 2) & 3) << 4;
        out[i] = step * static_cast<float>(code - 32);
      }
    }
  }
}

std::unique_ptr<BlockGrid> make_q6_k_grid() { return make_symmetric_grid(kLayout); }

}  // namespace

extern constinit const Codec codec_q6_k{.type = TensorType::q6_k,
                                        .encode = encode_q6_k,
                                        .decode = decode_q6_k,
                                        .make_grid = make_q6_k_grid,
                                        .scalar = &kSymmetricScalars<kLayout>};

}  // namespace qwodel
