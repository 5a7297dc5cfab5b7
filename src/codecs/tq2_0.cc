// TQ2_0: ternary values, four to the byte: larger than TQ1_0 and faster to multiply with. 2.0625
// bits per weight. The scale is the largest magnitude; importance plays no part.
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

// 256 weights: value = (pair - 1) * scale.
struct Tq20Block {
  std::uint8_t pairs[64];  // byte 32h + m: weights 128h + m + 32n at bits 2n, n < 4
  std::uint16_t scale;     // half
};
static_assert(sizeof(Tq20Block) == 66);

struct Tq20 {
  using Block = Tq20Block;
  static constexpr std::size_t kSize = 256;
  static constexpr std::size_t kGroup = 256;
  static constexpr std::array kLevels{-1.0f, 0.0f, 1.0f};

  static void fit(const float* values, Block& block, float* scales) {
    block.scale = float_to_half(max_magnitude(values, kSize));
    scales[0] = half_to_float(block.scale);
  }

  static void pack(const float* values, float inverse, Block& block) {
    pack_bit_pair_planes(values, inverse, 32, block.pairs);
    pack_bit_pair_planes(values + 128, inverse, 32, block.pairs + 32);
  }

  static void pack(const std::uint8_t* codes, Block& block) {
    std::array<float, kSize> levels;
    for (std::size_t i = 0; i < kSize; ++i) levels[i] = kLevels[codes[i]];
    pack(levels.data(), 1.0f, block);
  }
};

void encode_tq2_0(const float* values, std::size_t rows, std::size_t cols,
                  const float* /*importance*/, std::byte* out) {
  const float* const end = values + rows * cols;
  for (; values != end; values += Tq20::kSize, out += sizeof(Tq20Block)) {
    const float largest = max_magnitude(values, Tq20::kSize);
    const float inverse = 1.0f / largest;
    Tq20Block block;
    block.scale = float_to_half(largest);
    // Zeros, or values so small that the reciprocal overflows: the reference makes all of them
    // zero.
    Tq20::pack(values, std::isinf(inverse) ? 0.0f : inverse, block);
    std::memcpy(out, &block, sizeof block);
  }
}

void decode_tq2_0(const std::byte* in, std::size_t count, float* values) {
  const float* const end = values + count;
  for (; values != end; values += Tq20::kSize, in += sizeof(Tq20Block)) {
    Tq20Block block;
    std::memcpy(&block, in, sizeof block);
    const float scale = half_to_float(block.scale);
    unpack_bit_pair_planes(block.pairs, scale, 32, values);
    unpack_bit_pair_planes(block.pairs + 32, scale, 32, values + 128);
  }
}

std::unique_ptr<BlockGrid> make_grid_tq2_0() { return std::make_unique<LevelGrid<Tq20>>(); }

}  // namespace

extern constinit const Codec codec_tq2_0{.type = TensorType::tq2_0,
                                         .encode = encode_tq2_0,
                                         .decode = decode_tq2_0,
                                         .make_grid = make_grid_tq2_0};

}  // namespace qwodel
