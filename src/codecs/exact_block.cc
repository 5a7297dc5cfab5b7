#include "codecs/exact_block.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "codecs/codec.h"
#include "codecs/scalar_layout.h"
#include "core/half.h"

namespace qwodel {
namespace {

constexpr std::size_t kBlock = 32;

bool is_half(float value) { return half_to_float(float_to_half(value)) == value; }

const ScalarLayout* layout_of(TensorType type) {
  const Codec* codec = find_codec(type);
  if (codec == nullptr || codec->scalar == nullptr) return nullptr;
  const ScalarRecipe& recipe = codec->scalar->recipe;
  const bool small = recipe.block == kBlock && recipe.group == kBlock && recipe.table.empty() &&
                     recipe.lowest_scale == 1 && recipe.highest_scale == 1;
  return small ? codec->scalar : nullptr;
}

// x = scale * level + offset for levels of the recipe.
struct Lattice {
  float scale = 0;
  float offset = 0;
};

class ExactSearch {
 public:
  ExactSearch(const ScalarLayout& layout, std::span<const float> values)
      : layout_(layout), recipe_(layout.recipe), values_(values) {
    const auto [low, high] = std::ranges::minmax(values);
    low_ = low;
    high_ = high;
  }

  std::optional<Lattice> find() const {
    if (low_ == 0.0f && high_ == 0.0f) return Lattice{};
    return recipe_.highest_minimum > 0 ? find_affine() : find_symmetric();
  }

  void pack(const Lattice& lattice, std::byte* block) const {
    ScalarBlock parts;
    parts.scale = float_to_half(lattice.scale);
    parts.minimum = float_to_half(-lattice.offset);  // is taken off
    for (std::size_t i = 0; i < kBlock; ++i) {
      parts.codes[i] = static_cast<std::uint8_t>(level(lattice, values_[i]) -
                                                 static_cast<float>(recipe_.lowest));
    }
    layout_.pack(parts, block);
  }

  // Why there is none.
  ExactFit misfit() const {
    if (low_ == high_) return ExactFit::scale;
    for (int steps = 1; steps <= recipe_.highest - recipe_.lowest; ++steps) {
      const float step = (high_ - low_) / static_cast<float>(steps);
      const bool multiples = std::ranges::all_of(values_, [&](float value) {
        const float position = (value - low_) / step;
        return std::fabs(position - std::nearbyint(position)) < 1e-3f;
      });
      if (multiples) return is_half(step) ? ExactFit::zero_point : ExactFit::scale;
    }
    return ExactFit::values;
  }

 private:
  static float level(const Lattice& lattice, float value) {
    if (lattice.scale == 0.0f) return 0.0f;
    return std::nearbyint((value - lattice.offset) / lattice.scale);
  }

  // As the decoder computes it.
  bool holds(const Lattice& lattice) const {
    if (!is_half(lattice.scale) || !is_half(lattice.offset)) return false;
    return std::ranges::all_of(values_, [&](float value) {
      const float n = level(lattice, value);
      return n >= static_cast<float>(recipe_.lowest) && n <= static_cast<float>(recipe_.highest) &&
             lattice.scale * n + lattice.offset == value;
    });
  }

  // The value farthest from 0 is some level; scales may be negative.
  std::optional<Lattice> find_symmetric() const {
    const float farthest = std::max(-low_, high_);
    for (int n = 1; n <= -recipe_.lowest; ++n) {
      const float scale = farthest / static_cast<float>(n);
      for (const float signed_scale : {scale, -scale}) {
        if (holds({signed_scale, 0.0f})) return Lattice{signed_scale, 0.0f};
      }
    }
    return std::nullopt;
  }

  // The lowest value is some level, and the highest one some steps above.
  std::optional<Lattice> find_affine() const {
    if (low_ == high_) return find_constant();
    for (int steps = 1; steps <= recipe_.highest; ++steps) {
      const float scale = (high_ - low_) / static_cast<float>(steps);
      if (!is_half(scale)) continue;
      for (int below = 0; below <= recipe_.highest - steps; ++below) {
        const float distance = scale * static_cast<float>(below);
        for (const Lattice& lattice :
             {Lattice{scale, low_ - distance}, Lattice{-scale, high_ + distance}}) {
          if (holds(lattice)) return lattice;
        }
      }
    }
    return std::nullopt;
  }

  std::optional<Lattice> find_constant() const {
    if (holds({0.0f, low_})) return Lattice{0.0f, low_};
    for (int n = 1; n <= recipe_.highest; ++n) {
      const Lattice lattice{low_ / static_cast<float>(n), 0.0f};
      if (holds(lattice)) return lattice;
    }
    return std::nullopt;
  }

  const ScalarLayout& layout_;
  const ScalarRecipe& recipe_;
  std::span<const float> values_;
  float low_ = 0;
  float high_ = 0;
};

}  // namespace

bool has_exact_blocks(TensorType type) { return layout_of(type) != nullptr; }

ExactFit encode_exactly(TensorType type, std::span<const float> values, std::byte* block) {
  const ExactSearch search(*layout_of(type), values);
  const auto lattice = search.find();
  if (!lattice) return search.misfit();
  search.pack(*lattice, block);
  return ExactFit::exact;
}

}  // namespace qwodel
