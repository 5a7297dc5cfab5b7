#include "codecs/codebook.h"

#include <algorithm>

namespace qwodel {
namespace {

unsigned bits_per_level(unsigned width) { return width == 8 ? 2 : 3; }

// The levels of a slot as a point.
std::uint16_t point_of_slot(unsigned width, unsigned slot) {
  if (width == 4) return static_cast<std::uint16_t>(slot);
  unsigned point = 0;
  for (unsigned i = 0; i < 8; ++i, slot /= 3) point |= slot % 3 << 2 * i;
  return static_cast<std::uint16_t>(point);
}

// Squared distances between half points, of half the bits each.
class HalfDistances {
 public:
  explicit HalfDistances(unsigned width) : half_bits_(width * bits_per_level(width) / 2) {
    const unsigned bits = bits_per_level(width);
    const unsigned halves = 1u << half_bits_;
    table_.resize(std::size_t{halves} * halves);
    for (unsigned a = 0; a < halves; ++a) {
      for (unsigned b = 0; b < halves; ++b) {
        int sum = 0;
        for (unsigned shift = 0; shift < half_bits_; shift += bits) {
          const unsigned mask = (1u << bits) - 1;
          const int difference =
              static_cast<int>(a >> shift & mask) - static_cast<int>(b >> shift & mask);
          sum += difference * difference;
        }
        table_[a << half_bits_ | b] = static_cast<std::uint8_t>(sum);
      }
    }
  }

  // At most 4 * 7^2.
  std::uint8_t between(unsigned a, unsigned b) const {
    const unsigned mask = (1u << half_bits_) - 1;
    return static_cast<std::uint8_t>(table_[(a & mask) << half_bits_ | (b & mask)] +
                                     table_[a >> half_bits_ << half_bits_ | b >> half_bits_]);
  }

 private:
  unsigned half_bits_;
  std::vector<std::uint8_t> table_;
};

}  // namespace

Codebook::Codebook(std::span<const std::uint16_t> points, unsigned width, unsigned distances)
    : points_(points), width_(width), entries_(width == 8 ? kTernaryIndices : kOctalSlots) {
  const HalfDistances halves(width);
  std::vector<std::uint8_t> from_points(points.size());
  for (unsigned slot = 0; slot < entries_.size(); ++slot) {
    const std::uint16_t levels = point_of_slot(width, slot);
    for (std::size_t i = 0; i < points.size(); ++i) {
      from_points[i] = halves.between(levels, points[i]);
    }
    add_list(from_points, distances, entries_[slot]);
  }
}

void Codebook::add_list(std::span<const std::uint8_t> from_points, unsigned distances,
                        CodebookEntry& entry) {
  const auto nearest = std::min_element(from_points.begin(), from_points.end());
  entry.number = static_cast<std::uint16_t>(nearest - from_points.begin());
  if (*nearest == 0) return;
  const std::size_t first = lists_.size();
  unsigned found = 0;
  for (unsigned distance = *nearest; found < distances && distance < 256; ++distance) {
    const std::size_t before = lists_.size();
    for (std::size_t i = 0; i < from_points.size(); ++i) {
      if (from_points[i] == distance) lists_.push_back(points_[i]);
    }
    if (lists_.size() != before) ++found;
  }
  const auto last_again = static_cast<std::uint16_t>(lists_.back() | kFillBitOfFour);
  const std::uint16_t fill = width_ == 8 ? kFillOfEight : last_again;
  while ((lists_.size() - first) % kListUnit != 0) lists_.push_back(fill);
  entry.list = static_cast<std::uint32_t>(first);
  entry.length = static_cast<std::uint16_t>(lists_.size() - first);
}

std::vector<std::uint64_t> expand_points(std::span<const std::uint16_t> points, unsigned width,
                                         std::span<const std::uint8_t> levels) {
  const unsigned bits = bits_per_level(width);
  std::vector<std::uint64_t> expanded(points.size());
  for (std::size_t number = 0; number < points.size(); ++number) {
    for (unsigned i = 0; i < width; ++i) {
      const unsigned level = points[number] >> bits * i & ((1u << bits) - 1);
      expanded[number] |= std::uint64_t{levels[level]} << 8 * i;
    }
  }
  return expanded;
}

}  // namespace qwodel
