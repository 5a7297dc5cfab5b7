// Q8_0: 32 values, a half scale and signed bytes; 8.5 bits per weight. x = d * code.
// The reference has no use for importance here.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "codecs/codec.h"
#include "core/half.h"
#include "kernels/round_blocks.h"

namespace qwodel {
namespace {

struct BlockQ80 {
  std::uint16_t d;  // half
  std::int8_t codes[32];
};
static_assert(sizeof(BlockQ80) == 34);

void encode_q8_0(const float* values, std::size_t rows, std::size_t cols,
                 const float* /*importance*/, std::byte* out) {
  round_to_bytes(values, rows * (cols / 32), out);
}

void decode_q8_0(const std::byte* in, std::size_t count, float* values) {
  bytes_to_floats(in, count / 32, values);
}

class GridQ80 final : public BlockGrid {
 public:
  void fit(std::span<const float> values, std::span<const float> /*importance*/) override {
    round_to_bytes(values.data(), 1, reinterpret_cast<std::byte*>(&block_));
  }

  void snap(std::size_t first, std::span<const float> values, std::span<float> decoded) override {
    const float scale = half_to_float(block_.d);
    const float position = scale == 0.0f ? 0.0f : std::nearbyint(values[0] / scale);
    const float code = std::clamp(position, -128.0f, 127.0f);
    block_.codes[first] = static_cast<std::int8_t>(code);
    decoded[0] = code * scale;
  }

  void pack(std::span<std::byte> block) const override {
    std::memcpy(block.data(), &block_, sizeof(block_));
  }

 private:
  BlockQ80 block_{};
};

std::unique_ptr<BlockGrid> make_q8_0_grid() { return std::make_unique<GridQ80>(); }

}  // namespace

extern constinit const Codec codec_q8_0{.type = TensorType::q8_0,
                                        .encode = encode_q8_0,
                                        .decode = decode_q8_0,
                                        .make_grid = make_q8_0_grid};

}  // namespace qwodel
