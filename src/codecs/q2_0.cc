// Q2_0: two bits and one scale. 2.25 bits per weight.
//
// The scale is the largest magnitude, so a plain encoder only ever uses three of the four levels;
// the fourth, twice the scale, is there for values decided otherwise. Importance plays no part.
#include <array>
#include <cmath>
#include <cstring>
#include <memory>

#include "codecs/codec.h"
#include "codecs/level_grid.h"
#include "core/half.h"
#include "kernels/ternary.h"

namespace qwodel {
namespace {

// 64 weights: value = (pair - 1) * scale.
struct Q20Block {
  std::uint16_t scale;     // half
  std::uint8_t pairs[16];  // weight i at bits 2 * (i % 4) of byte i / 4
};
static_assert(sizeof(Q20Block) == 18);

struct Q20 {
  using Block = Q20Block;
  static constexpr std::size_t kSize = 64;
  static constexpr std::size_t kGroup = 64;
  static constexpr std::array kLevels{-1.0f, 0.0f, 1.0f, 2.0f};

  static void fit(const float* values, Block& block, float* scales) {
    block.scale = float_to_half(max_magnitude(values, kSize));
    scales[0] = half_to_float(block.scale);
  }

  static void pack(const std::uint8_t* codes, Block& block) {
    for (std::size_t j = 0; j < sizeof block.pairs; ++j) {
      const std::uint8_t* four = codes + 4 * j;
      block.pairs[j] =
          static_cast<std::uint8_t>(four[0] | four[1] << 2 | four[2] << 4 | four[3] << 6);
    }
  }
};

void encode_q2_0(const float* values, std::size_t rows, std::size_t cols,
                 const float* /*importance*/, std::byte* out) {
  const float* const end = values + rows * cols;
  for (; values != end; values += Q20::kSize, out += sizeof(Q20Block)) {
    const float largest = max_magnitude(values, Q20::kSize);
    const float inverse = largest > 0.0f ? 1.0f / largest : 0.0f;
    Q20Block block;
    block.scale = float_to_half(largest);
    if (std::isinf(inverse)) {
      // The reference converts infinities and NaNs to the lowest int here, then clamps to level 0.
      std::memset(block.pairs, 0, sizeof block.pairs);
    } else {
      pack_bit_pairs(values, inverse, Q20::kSize, block.pairs);
    }
    std::memcpy(out, &block, sizeof block);
  }
}

void decode_q2_0(const std::byte* in, std::size_t count, float* values) {
  const float* const end = values + count;
  for (; values != end; values += Q20::kSize, in += sizeof(Q20Block)) {
    Q20Block block;
    std::memcpy(&block, in, sizeof block);
    unpack_bit_pairs(block.pairs, half_to_float(block.scale), Q20::kSize, values);
  }
}

std::unique_ptr<BlockGrid> make_grid_q2_0() { return std::make_unique<LevelGrid<Q20>>(); }

}  // namespace

extern constinit const Codec codec_q2_0{.type = TensorType::q2_0,
                                        .encode = encode_q2_0,
                                        .decode = decode_q2_0,
                                        .make_grid = make_grid_q2_0};

}  // namespace qwodel
