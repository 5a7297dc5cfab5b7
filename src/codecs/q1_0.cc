// Q1_0: signs and one scale, the mean magnitude. 1.125 bits per weight. Importance plays no part.
#include <algorithm>
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

// 128 weights: value = scale where the bit is set, else -scale.
struct Q10Block {
  std::uint16_t scale;     // half
  std::uint8_t signs[16];  // weight i at bit i % 8 of byte i / 8
};
static_assert(sizeof(Q10Block) == 18);

constexpr std::size_t kSumBatch = 8;

// out[b] = sum of the magnitudes of block b, added from first to last as the reference does. Eight
// blocks at a time hide the latency of each sum's additions.
void sum_magnitudes(const float* values, std::size_t blocks, float* out) {
  std::fill_n(out, blocks, 0.0f);
  for (std::size_t i = 0; i < 128; ++i) {
    for (std::size_t b = 0; b < blocks; ++b) out[b] += std::fabs(values[b * 128 + i]);
  }
}

struct Q10 {
  using Block = Q10Block;
  static constexpr std::size_t kSize = 128;
  static constexpr std::size_t kGroup = 128;
  static constexpr std::array kLevels{-1.0f, 1.0f};

  static void fit(const float* values, Block& block, float* scales) {
    float sum = 0.0f;
    sum_magnitudes(values, 1, &sum);
    block.scale = float_to_half(sum / float{kSize});
    scales[0] = half_to_float(block.scale);
  }

  static void pack(const std::uint8_t* codes, Block& block) {
    std::memset(block.signs, 0, sizeof block.signs);
    for (std::size_t i = 0; i < kSize; ++i) {
      block.signs[i / 8] = static_cast<std::uint8_t>(block.signs[i / 8] | codes[i] << i % 8);
    }
  }
};

void encode_q1_0(const float* values, std::size_t rows, std::size_t cols,
                 const float* /*importance*/, std::byte* out) {
  const std::size_t blocks = rows * cols / Q10::kSize;
  float sums[kSumBatch];
  for (std::size_t first = 0; first < blocks; first += kSumBatch) {
    const std::size_t batch = std::min(kSumBatch, blocks - first);
    if (batch == kSumBatch) {
      sum_magnitudes(values, kSumBatch, sums);
    } else {
      sum_magnitudes(values, batch, sums);
    }
    for (std::size_t b = 0; b < batch; ++b, values += Q10::kSize, out += sizeof(Q10Block)) {
      Q10Block block;
      block.scale = float_to_half(sums[b] / float{Q10::kSize});
      pack_signs(values, Q10::kSize, block.signs);
      std::memcpy(out, &block, sizeof block);
    }
  }
}

void decode_q1_0(const std::byte* in, std::size_t count, float* values) {
  const float* const end = values + count;
  for (; values != end; values += Q10::kSize, in += sizeof(Q10Block)) {
    Q10Block block;
    std::memcpy(&block, in, sizeof block);
    unpack_signs(block.signs, half_to_float(block.scale), Q10::kSize, values);
  }
}

std::unique_ptr<BlockGrid> make_grid_q1_0() { return std::make_unique<LevelGrid<Q10>>(); }

}  // namespace

extern constinit const Codec codec_q1_0{.type = TensorType::q1_0,
                                        .encode = encode_q1_0,
                                        .decode = decode_q1_0,
                                        .make_grid = make_grid_q1_0};

}  // namespace qwodel
