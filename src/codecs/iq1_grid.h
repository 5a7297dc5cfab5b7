// What IQ1_S and IQ1_M share beyond the codebook: blocks seen as groups of eight weights.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "codecs/codec.h"
#include "codecs/iq1_codebook.h"
#include "kernels/iq1_s.h"

namespace qwodel {

inline constexpr std::size_t kIq1Size = 256;
inline constexpr std::size_t kIq1Groups = 32;  // of 8 weights: scale * (level - 1 + shift)

struct Iq1Groups {
  std::uint16_t number[kIq1Groups];  // of the codebook point
  std::uint16_t point[kIq1Groups];   // its levels
  float scale[kIq1Groups];
  float shift[kIq1Groups];
};

// Format describes one of the two:
//   Block                          the block's struct
//   encode(values, rows, cols, importance, out)
//   unpack(block)                  its groups
//   set_points(numbers, block)     replaces the points
template <class Format>
void decode_iq1(const std::byte* in, std::size_t count, float* values) {
  const float* const end = values + count;
  for (; values != end; values += kIq1Size, in += sizeof(typename Format::Block)) {
    typename Format::Block block;
    std::memcpy(&block, in, sizeof block);
    const Iq1Groups groups = Format::unpack(block);
    decode_ternary_points(groups.point, groups.scale, groups.shift, kIq1Groups, values);
  }
}

// Fits as the encoder does. Snaps eight values to the nearest of all points, without weights.
template <class Format>
class Iq1Grid final : public BlockGrid {
 public:
  void fit(std::span<const float> values, std::span<const float> importance) override {
    const std::vector<float> even(importance.empty() ? kIq1Size : 0, 1.0f);
    const float* const weights = importance.empty() ? even.data() : importance.data();
    std::byte bytes[sizeof block_];
    Format::encode(values.data(), 1, kIq1Size, weights, bytes);
    std::memcpy(&block_, bytes, sizeof block_);
    groups_ = Format::unpack(block_);
  }

  std::size_t snap_width() const override { return 8; }

  void snap(std::size_t first, std::span<const float> values, std::span<float> decoded) override {
    const std::size_t g = first / 8;
    groups_.number[g] = nearest_iq1_point(values.data(), groups_.scale[g], groups_.shift[g]);
    groups_.point[g] = kIq1PointTable[groups_.number[g]];
    decode_ternary_points(&groups_.point[g], &groups_.scale[g], &groups_.shift[g], 1,
                          decoded.data());
  }

  void pack(std::span<std::byte> out) const override {
    typename Format::Block block = block_;
    Format::set_points(groups_.number, block);
    std::memcpy(out.data(), &block, sizeof block);
  }

 private:
  typename Format::Block block_{};
  Iq1Groups groups_{};
};

// Rounds to the nearest integer, half to even; infinities and NaN give what the reference's bit
// trick gives, -2^22 and 0.
inline int nearest_iq1_integer(float value) {
  const auto bits = std::bit_cast<std::int32_t>(value + 12582912.0f);
  return (bits & 0x007FFFFF) - 0x00400000;
}

}  // namespace qwodel
