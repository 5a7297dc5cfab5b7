// Inputs of the codec tests, the same to the bit as those of tools/golden/make_codec_goldens.py:
// integers from a 64-bit generator times powers of two. What each set is for stands there.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

namespace qwodel {

inline constexpr std::size_t kInputRows = 4;
inline constexpr std::size_t kInputCols = 1024;

// The generator splitmix64 (Steele, Lea, Flood 2014).
class SplitMix {
 public:
  explicit SplitMix(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9E3779B97F4A7C15u;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }

  // Sum of eight uniform 16-bit integers about zero: deviation 53509.
  double bell() {
    std::int64_t total = -8 * 32768;
    for (int i = 0; i < 2; ++i) {
      const std::uint64_t draw = next();
      for (int shift = 0; shift < 64; shift += 16) {
        total += static_cast<std::int64_t>(draw >> shift & 0xFFFFu);
      }
    }
    return static_cast<double>(total);
  }

  std::uint32_t below(std::uint32_t bound) {
    return static_cast<std::uint32_t>(next() >> 32) % bound;
  }

  // 0, 1, 2 ... with probability 1/2, 1/4, 1/8 ..., at most `limit`.
  int doublings(int limit) {
    int count = 0;
    for (std::uint64_t draw = next(); count < limit && (draw & 1u) != 0; draw >>= 1) ++count;
    return count;
  }

 private:
  std::uint64_t state_;
};

namespace inputs {

inline double gaussian(SplitMix& rng, int, int) { return std::ldexp(rng.bell(), -21); }

inline double heavy_tail(SplitMix& rng, int, int) {
  const int scale = rng.doublings(6);
  return std::ldexp(rng.bell(), scale - 22);
}

inline double lattice(SplitMix& rng, int row, int) {
  const auto levels = static_cast<std::uint32_t>(4 + 5 * row);
  return std::ldexp(static_cast<double>(rng.below(levels)) - 2 - 2 * row, -5);
}

inline double positive(SplitMix& rng, int row, int) {
  return std::ldexp(std::abs(rng.bell()) + row * 20000, -20);
}

inline double tiny(SplitMix& rng, int row, int) {
  constexpr std::array kExponents = {-52, -66, -90, -155};
  return std::ldexp(rng.bell(), kExponents[static_cast<std::size_t>(row)]);
}

inline double huge(SplitMix& rng, int row, int) {
  constexpr std::array kExponents = {4, 30, 90, 109};
  return std::ldexp(rng.bell(), kExponents[static_cast<std::size_t>(row)]);
}

inline double uneven(SplitMix& rng, int row, int col) {
  const int group = col / (8 << row);
  const auto seed = static_cast<std::uint64_t>(1000 * row + group);
  const auto halvings = static_cast<int>(SplitMix(seed).below(20));
  const double value = rng.bell();
  if (halvings >= 16) return value < 0 && halvings >= 18 ? -0.0 : 0.0;
  return std::ldexp(value, -21 - halvings);
}

inline double special(SplitMix& rng, int row, int col) {
  if (row == 0) return 0.0;
  if (row == 1) {
    const bool outlier = rng.below(40) == 0;
    return outlier ? std::ldexp(rng.bell(), -19) : 0.0;
  }
  const int level = 1 + col / 128;
  return std::ldexp(row == 2 ? level : -level, -6);
}

inline double ties(SplitMix& rng, int row, int) {
  const int sign = static_cast<int>(rng.below(2)) * 2 - 1;
  return std::ldexp(sign * static_cast<int>(rng.below(17)), -4 - row);
}

inline double bits(SplitMix& rng, int, int) {
  const int sign = static_cast<int>(rng.below(2)) * 2 - 1;
  const int mantissa = 128 + static_cast<int>(rng.below(128));
  return std::ldexp(sign * mantissa, static_cast<int>(rng.below(140)) - 133);
}

inline double zeros(SplitMix& rng, int row, int col) {
  const bool negative = rng.below(2) == 1;
  const bool outlier = row >= 2 && col % 100 == 99;
  const double zero = negative ? -0.0 : 0.0;
  return outlier ? std::ldexp(row == 2 ? 1 : -1, -5) : zero;
}

}  // namespace inputs

struct CodecInput {
  std::string name;
  double (*value)(SplitMix& rng, int row, int col);
};

inline const std::vector<CodecInput>& codec_inputs() {
  static const std::vector<CodecInput> list = {
      {"gaussian", inputs::gaussian}, {"heavy_tail", inputs::heavy_tail},
      {"lattice", inputs::lattice},   {"positive", inputs::positive},
      {"tiny", inputs::tiny},         {"huge", inputs::huge},
      {"uneven", inputs::uneven},     {"special", inputs::special},
      {"ties", inputs::ties},         {"bits", inputs::bits},
      {"zeros", inputs::zeros},
  };
  return list;
}

// The values [kInputRows, kInputCols] of an input.
inline std::vector<float> make_rows(const std::string& name) {
  std::vector<float> rows;
  for (std::size_t i = 0; i < codec_inputs().size(); ++i) {
    if (codec_inputs()[i].name != name) continue;
    SplitMix rng(1 + i);
    for (int row = 0; row < static_cast<int>(kInputRows); ++row) {
      for (int col = 0; col < static_cast<int>(kInputCols); ++col) {
        rows.push_back(static_cast<float>(codec_inputs()[i].value(rng, row, col)));
      }
    }
  }
  return rows;
}

// Weights [kInputCols]: "positive" of a wide range, "sparse" with zeros, "rare" with few others;
// empty for "none".
inline std::vector<float> make_importance(const std::string& name) {
  std::vector<float> weights;
  if (name == "none") return weights;
  SplitMix rng(77);
  for (std::size_t col = 0; col < kInputCols; ++col) {
    const int scale = rng.doublings(10);
    double weight = std::ldexp(1 + static_cast<double>(rng.below(65535)), scale - 16);
    const bool drop = rng.below(3) == 0;
    if (name == "sparse" && (drop || col / 16 % 5 == 3 || col / 256 == 2)) weight = 0.0;
    if (name == "rare" && (rng.below(40) != 0 || col < 256)) weight = 0.0;
    weights.push_back(static_cast<float>(weight));
  }
  return weights;
}

}  // namespace qwodel
