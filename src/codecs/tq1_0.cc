// TQ1_0: ternary values, five to the byte. 1.6875 bits per weight.
//
// Made for models trained ternary (BitNet b1.58, TriLM): the scale is the largest magnitude, and
// importance plays no part.
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

// 256 weights: value = (digit - 1) * scale. A byte is ceil(number * 256 / 243) of a number of five
// base-3 digits, first digit first, so that the digits come out at the top under multiplication
// by 3.
struct Tq10Block {
  std::uint8_t
      fives[48];          // byte m < 32: weights m + 32n, n < 5; byte 32 + m: weights 160 + m + 16n
  std::uint8_t fours[4];  // byte m: weights 240 + m + 4n, n < 4; the fifth digit is 0
  std::uint16_t scale;    // half
};
static_assert(sizeof(Tq10Block) == 54);

struct Tq10 {
  using Block = Tq10Block;
  static constexpr std::size_t kSize = 256;
  static constexpr std::size_t kGroup = 256;
  static constexpr std::array kLevels{-1.0f, 0.0f, 1.0f};

  static void fit(const float* values, Block& block, float* scales) {
    block.scale = float_to_half(max_magnitude(values, kSize));
    scales[0] = half_to_float(block.scale);
  }

  static void pack(const float* values, float inverse, Block& block) {
    pack_trit_planes(values, inverse, 5, 32, block.fives);
    pack_trit_planes(values + 160, inverse, 5, 16, block.fives + 32);
    pack_trit_planes(values + 240, inverse, 4, 4, block.fours);
  }

  static void pack(const std::uint8_t* codes, Block& block) {
    std::array<float, kSize> levels;
    for (std::size_t i = 0; i < kSize; ++i) levels[i] = kLevels[codes[i]];
    pack(levels.data(), 1.0f, block);
  }
};

void encode_tq1_0(const float* values, std::size_t rows, std::size_t cols,
                  const float* /*importance*/, std::byte* out) {
  const float* const end = values + rows * cols;
  for (; values != end; values += Tq10::kSize, out += sizeof(Tq10Block)) {
    const float largest = max_magnitude(values, Tq10::kSize);
    const float inverse = 1.0f / largest;
    Tq10Block block;
    block.scale = float_to_half(largest);
    // Zeros, or values so small that the reciprocal overflows: the reference makes all of them
    // zero.
    Tq10::pack(values, std::isinf(inverse) ? 0.0f : inverse, block);
    std::memcpy(out, &block, sizeof block);
  }
}

void decode_tq1_0(const std::byte* in, std::size_t count, float* values) {
  const float* const end = values + count;
  for (; values != end; values += Tq10::kSize, in += sizeof(Tq10Block)) {
    Tq10Block block;
    std::memcpy(&block, in, sizeof block);
    const float scale = half_to_float(block.scale);
    unpack_trit_planes(block.fives, scale, 5, 32, values);
    unpack_trit_planes(block.fives + 32, scale, 5, 16, values + 160);
    unpack_trit_planes(block.fours, scale, 4, 4, values + 240);
  }
}

std::unique_ptr<BlockGrid> make_grid_tq1_0() { return std::make_unique<LevelGrid<Tq10>>(); }

}  // namespace

extern constinit const Codec codec_tq1_0{.type = TensorType::tq1_0,
                                         .encode = encode_tq1_0,
                                         .decode = decode_tq1_0,
                                         .make_grid = make_grid_tq1_0};

}  // namespace qwodel
