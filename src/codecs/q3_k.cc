// Q3_K: 256 values in sixteen sub-blocks of 16; 3.4375 bits per weight.
// x = (d * (scale - 32)) * (code - 4), with 6-bit scales and 3-bit codes.
#include <cstring>

#include "codecs/codec.h"
#include "codecs/symmetric_k.h"
#include "core/half.h"

namespace qwodel {
namespace {

struct BlockQ3K {
  std::uint8_t high[32];  // value i: bit i / 32 of byte i % 32 is the upper bit of its code
  std::uint8_t
      low[64];  // 128 values in 32 bytes: byte i holds two bits of i, i + 32, i + 64, i + 96
  std::uint8_t scales[12];  // byte j < 8: low nibbles of scales j and j + 8; byte 8 + j: the upper
                            // two bits of scales j, j + 4, j + 8, j + 12
  std::uint16_t d;          // half
};
static_assert(sizeof(BlockQ3K) == 110);

void pack_q3_k(const SymmetricBlock& block, std::byte* out) {
  BlockQ3K packed{};
  for (std::size_t i = 0; i < 32; ++i) {
    unsigned high = 0;
    for (std::size_t k = 0; k < 8; ++k)
      high |= static_cast<unsigned>(block.codes[32 * k + i] >> 2) << k;
    packed.high[i] = static_cast<std::uint8_t>(high);
  }
  for (std::size_t i = 0; i < 64; ++i) {
    const std::uint8_t* code = block.codes.data() + i / 32 * 128 + i % 32;
    packed.low[i] = static_cast<std::uint8_t>((code[0] & 3) | (code[32] & 3) << 2 |
                                              (code[64] & 3) << 4 | (code[96] & 3) << 6);
  }
  for (std::size_t j = 0; j < 16; ++j) {
    const auto scale = static_cast<unsigned>(block.scales[j] + 32);
    std::uint8_t& low = packed.scales[j % 8];
    std::uint8_t& high = packed.scales[8 + j % 4];
    low = static_cast<std::uint8_t>(low | (scale & 15u) << (j / 8 * 4));
    high = static_cast<std::uint8_t>(high | scale >> 4 << (j / 4 * 2));
  }
  packed.d = block.scale;
  std::memcpy(out, &packed, sizeof(packed));
}

constexpr SymmetricLayout kLayout = {
    .recipe = {.kind = SymmetricKind::q3_k, .levels = 4, .scale_levels = 32},
    .block_bytes = sizeof(BlockQ3K),
    .pack = pack_q3_k,
};

void encode_q3_k(const float* values, std::size_t rows, std::size_t cols, const float* importance,
                 std::byte* out) {
  encode_symmetric(kLayout, values, rows, cols, importance, out);
}

void decode_q3_k(const std::byte* in, std::size_t count, float* values) {
  for (std::size_t b = 0; b < count / 256; ++b) {
    BlockQ3K block;
    std::memcpy(&block, in + b * sizeof(block), sizeof(block));
    const float d = half_to_float(block.d);
    for (std::size_t s = 0; s < 16; ++s) {
      const int scale = (block.scales[s % 8] >> (s / 8 * 4) & 15) |
                        (block.scales[8 + s % 4] >> (s / 4 * 2) & 3) << 4;
      const float step = d * static_cast<float>(scale - 32);
      const std::size_t chunk = s / 2;  // of 32 values
      const std::uint8_t* low = block.low + chunk / 4 * 32 + s % 2 * 16;
      const std::uint8_t* high = block.high + s % 2 * 16;
      float* out = values + b * 256 + s * 16;
      for (std::size_t i = 0; i < 16; ++i) {
        const int code = (low[i] >> (chunk % 4 * 2) & 3) | (high[i] >> chunk & 1) << 2;
        out[i] = step * static_cast<float>(code - 4);
      }
    }
  }
}

std::unique_ptr<BlockGrid> make_q3_k_grid() { return make_symmetric_grid(kLayout); }

}  // namespace

extern constinit const Codec codec_q3_k{.type = TensorType::q3_k,
                                        .encode = encode_q3_k,
                                        .decode = decode_q3_k,
                                        .make_grid = make_q3_k_grid,
                                        .scalar = &kSymmetricScalars<kLayout>};

}  // namespace qwodel
