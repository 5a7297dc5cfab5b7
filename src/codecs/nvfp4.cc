// NVFP4: E2M1 values under an 8-bit float per 16. 4.5 bits per weight. Importance plays no part.
//
// NVIDIA's format has a second scale per tensor; in GGUF that is a tensor of its own, not part of
// the block.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "codecs/codec.h"
#include "codecs/level_grid.h"
#include "kernels/fp4.h"

namespace qwodel {
namespace {

// 64 weights in groups of 16: value = E2M1 * scale.
struct Nvfp4Block {
  std::uint8_t scales[4];  // E4M3 without sign, one per group
  std::uint8_t codes[32];  // byte 8g + j: weights 16g + j (low bits) and 16g + 8 + j (high bits)
};
static_assert(sizeof(Nvfp4Block) == 36);

constexpr E2m1Layout kLayout{.group_size = 16, .groups_per_block = 4, .block_bytes = 32};

// Half of each scale, since the codes' values are doubled. As ggml reads them: the top bit is
// ignored, 0x7F counts as zero, 0xFF as 480.
constexpr std::array<float, 256> kHalfScales = [] {
  std::array<float, 256> scales{};
  for (unsigned i = 0; i < 256; ++i) {
    const unsigned exponent = i >> 3 & 15u;
    const auto mantissa = static_cast<float>(i & 7u);
    const float power = std::bit_cast<float>((exponent + 120u) << 23);
    scales[i] = exponent == 0 ? mantissa * 0x1p-10f : (1.0f + mantissa / 8.0f) * power * 0.5f;
  }
  scales[0x7F] = 0.0f;
  return scales;
}();

// To E4M3 as ggml rounds: half away from zero, and everything from 248 on to the largest, 448.
std::uint8_t to_e4m3(float x) {
  if (!(x > 0.0f)) return 0;
  if (x < 0x1p-6f) return static_cast<std::uint8_t>(std::min(x * 512.0f + 0.5f, 7.0f));
  if (x >= 248.0f) return 0x7E;
  return static_cast<std::uint8_t>(((std::bit_cast<std::uint32_t>(x) + 0x80000u) >> 20) -
                                   120u * 8u);
}

struct Nvfp4 {
  using Block = Nvfp4Block;
  static constexpr std::size_t kSize = 64;
  static constexpr std::size_t kGroup = 16;
  static constexpr std::array kLevels{0.0f, 1.0f,  2.0f,  3.0f,  4.0f,  6.0f,  8.0f,  12.0f,
                                      0.0f, -1.0f, -2.0f, -3.0f, -4.0f, -6.0f, -8.0f, -12.0f};

  static void fit(const float* values, Block& block, float* scales) {
    float largest[4];
    group_magnitudes(values, 4, kGroup, largest);
    for (std::size_t g = 0; g < 4; ++g) {
      block.scales[g] = to_e4m3(largest[g] / 6.0f);
      scales[g] = kHalfScales[block.scales[g]];
    }
  }

  static void pack(const std::uint8_t* codes, Block& block) {
    for (std::size_t g = 0; g < 4; ++g) {
      for (std::size_t j = 0; j < 8; ++j) {
        const std::uint8_t* pair = codes + 16 * g + j;
        block.codes[8 * g + j] = static_cast<std::uint8_t>(pair[0] | pair[8] << 4);
      }
    }
  }
};

// Values of 2^20 scales and more lose the codes' differences to rounding: the reference compares
// rounded distances and keeps the first of equal ones.
std::uint8_t nearest_rounded(float value, float scale) {
  std::uint8_t best = 0;
  float least = std::fabs(value);
  for (std::uint8_t code = 1; code < 16; ++code) {
    const float distance = std::fabs(Nvfp4::kLevels[code] * scale - value);
    if (distance < least) {
      best = code;
      least = distance;
    }
  }
  return best;
}

void encode_far_group(const float* values, float scale, std::uint8_t* codes) {
  for (std::size_t j = 0; j < 8; ++j) {
    codes[j] = static_cast<std::uint8_t>(nearest_rounded(values[j], scale) |
                                         nearest_rounded(values[j + 8], scale) << 4);
  }
}

void encode_nvfp4(const float* values, std::size_t rows, std::size_t cols,
                  const float* /*importance*/, std::byte* out) {
  const float* const end = values + rows * cols;
  for (; values != end; values += Nvfp4::kSize, out += sizeof(Nvfp4Block)) {
    Nvfp4Block block;
    float largest[4];
    float scales[4];
    group_magnitudes(values, 4, Nvfp4::kGroup, largest);
    for (std::size_t g = 0; g < 4; ++g) {
      block.scales[g] = to_e4m3(largest[g] / 6.0f);
      scales[g] = block.scales[g] == 0 ? std::numeric_limits<float>::infinity()
                                       : kHalfScales[block.scales[g]];
    }
    encode_e2m1(values, scales, 1, kLayout, block.codes);
    for (std::size_t g = 0; g < 4; ++g) {
      if (largest[g] > scales[g] * 0x1p20f) {
        encode_far_group(values + g * Nvfp4::kGroup, scales[g], block.codes + 8 * g);
      }
    }
    std::memcpy(out, &block, sizeof block);
  }
}

void decode_nvfp4(const std::byte* in, std::size_t count, float* values) {
  const float* const end = values + count;
  for (; values != end; values += Nvfp4::kSize, in += sizeof(Nvfp4Block)) {
    Nvfp4Block block;
    std::memcpy(&block, in, sizeof block);
    float scales[4];
    for (std::size_t g = 0; g < 4; ++g) scales[g] = kHalfScales[block.scales[g]];
    decode_e2m1(block.codes, scales, 1, kLayout, values);
  }
}

std::unique_ptr<BlockGrid> make_grid_nvfp4() { return std::make_unique<LevelGrid<Nvfp4>>(); }

}  // namespace

extern constinit const Codec codec_nvfp4{.type = TensorType::nvfp4,
                                         .encode = encode_nvfp4,
                                         .decode = decode_nvfp4,
                                         .make_grid = make_grid_nvfp4};

}  // namespace qwodel
