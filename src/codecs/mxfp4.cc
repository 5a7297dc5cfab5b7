// MXFP4: E2M1 values under a power of two (OCP Microscaling Formats 1.0). 4.25 bits per weight.
// Importance plays no part.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>

#include "codecs/codec.h"
#include "codecs/level_grid.h"
#include "kernels/fp4.h"

namespace qwodel {
namespace {

// 32 weights: value = E2M1 * 2^(exponent - 127).
struct Mxfp4Block {
  std::uint8_t exponent;   // E8M0
  std::uint8_t codes[16];  // byte j: weight j in the low bits, weight j + 16 in the high bits
};
static_assert(sizeof(Mxfp4Block) == 17);

constexpr E2m1Layout kLayout{.group_size = 32, .groups_per_block = 1, .block_bytes = 17};

// Half of 2^(exponent - 127), since the codes' values are doubled. 255 is not a NaN here: ggml
// reads it as one more power of two.
constexpr float half_scale(std::uint8_t exponent) {
  return std::bit_cast<float>(exponent < 2 ? 0x00200000u << exponent
                                           : static_cast<std::uint32_t>(exponent - 1) << 23);
}

// floor(log2f(x)) for x > 0, where log2f rounds to nearest: just below a power of two the logarithm
// may round up to the integer. With |log2 x| in [2^m, 2^(m+1)) floats are 2^(m-23) apart, so that
// happens down to x = 2^k * (1 - n * 2^-24), n = floor(2^m * ln 2).
int floor_log2f(float x) {
  constexpr int kLastRoundedUp[8] = {0, 1, 2, 5, 11, 22, 44, 88};
  const bool subnormal = x < 0x1p-126f;
  const auto bits = std::bit_cast<std::uint32_t>(subnormal ? x * 0x1p64f : x);
  const int above = static_cast<int>(bits >> 23) - 126 - (subnormal ? 64 : 0);
  const auto below_power = static_cast<int>(0x800000u - (bits & 0x7FFFFFu));
  const auto magnitude = static_cast<unsigned>(above > 0 ? above - 1 : -above);
  const unsigned m = std::bit_width(magnitude | 1u) - 1u;
  return below_power <= kLastRoundedUp[m] ? above : above - 1;
}

// The exponent that puts the largest magnitude between E2M1's 4 and 8. Below 2^-125 it would be
// negative; the reference's conversion to a byte wraps it, and everything rounds to zero.
std::uint8_t shared_exponent(float largest) {
  return largest > 0.0f ? static_cast<std::uint8_t>(floor_log2f(largest) - 2 + 127) : 0;
}

struct Mxfp4 {
  using Block = Mxfp4Block;
  static constexpr std::size_t kSize = 32;
  static constexpr std::size_t kGroup = 32;
  static constexpr std::array kLevels{0.0f, 1.0f,  2.0f,  3.0f,  4.0f,  6.0f,  8.0f,  12.0f,
                                      0.0f, -1.0f, -2.0f, -3.0f, -4.0f, -6.0f, -8.0f, -12.0f};

  static void fit(const float* values, Block& block, float* scales) {
    float largest;
    group_magnitudes(values, 1, kSize, &largest);
    block.exponent = shared_exponent(largest);
    scales[0] = half_scale(block.exponent);
  }

  static void pack(const std::uint8_t* codes, Block& block) {
    for (std::size_t j = 0; j < sizeof block.codes; ++j) {
      block.codes[j] = static_cast<std::uint8_t>(codes[j] | codes[j + 16] << 4);
    }
  }
};

constexpr std::size_t kBatch = 64;  // blocks per call of a kernel

void encode_mxfp4(const float* values, std::size_t rows, std::size_t cols,
                  const float* /*importance*/, std::byte* out) {
  const std::size_t blocks = rows * cols / Mxfp4::kSize;
  float scales[kBatch];
  for (std::size_t first = 0; first < blocks; first += kBatch) {
    const std::size_t batch = std::min(kBatch, blocks - first);
    group_magnitudes(values, batch, Mxfp4::kSize, scales);
    for (std::size_t b = 0; b < batch; ++b) {
      const std::uint8_t exponent = shared_exponent(scales[b]);
      out[b * sizeof(Mxfp4Block)] = std::byte{exponent};
      scales[b] = half_scale(exponent);
    }
    encode_e2m1(values, scales, batch, kLayout, reinterpret_cast<std::uint8_t*>(out + 1));
    values += batch * Mxfp4::kSize;
    out += batch * sizeof(Mxfp4Block);
  }
}

void decode_mxfp4(const std::byte* in, std::size_t count, float* values) {
  const std::size_t blocks = count / Mxfp4::kSize;
  float scales[kBatch];
  for (std::size_t first = 0; first < blocks; first += kBatch) {
    const std::size_t batch = std::min(kBatch, blocks - first);
    for (std::size_t b = 0; b < batch; ++b) {
      scales[b] = half_scale(std::to_integer<std::uint8_t>(in[b * sizeof(Mxfp4Block)]));
    }
    decode_e2m1(reinterpret_cast<const std::uint8_t*>(in + 1), scales, batch, kLayout, values);
    values += batch * Mxfp4::kSize;
    in += batch * sizeof(Mxfp4Block);
  }
}

std::unique_ptr<BlockGrid> make_grid_mxfp4() { return std::make_unique<LevelGrid<Mxfp4>>(); }

}  // namespace

extern constinit const Codec codec_mxfp4{.type = TensorType::mxfp4,
                                         .encode = encode_mxfp4,
                                         .decode = decode_mxfp4,
                                         .make_grid = make_grid_mxfp4};

}  // namespace qwodel
