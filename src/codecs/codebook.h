// Codebooks of the IQ2 and IQ3 encodings: their points, and for every other group of levels the
// list of points from which the reference encoder chooses (iq2xs_init_impl and iq3xs_init_impl of
// ggml-quants.c describe the lists: all points at the least few distances, by distance, then by
// number).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/codebook_view.h"

namespace qwodel {

// Made once per encoding and kept (a few milliseconds and some 100 kB); immutable afterwards.
class Codebook {
 public:
  // `points` must outlive the codebook. `width` is 8 or 4; lists hold the points at the
  // `distances` least distances.
  Codebook(std::span<const std::uint16_t> points, unsigned width, unsigned distances);

  // Valid as long as the codebook.
  CodebookView view() const { return {width_, entries_.data(), lists_.data(), points_.data()}; }
  std::span<const std::uint16_t> points() const { return points_; }

 private:
  void add_list(std::span<const std::uint8_t> from_points, unsigned distances,
                CodebookEntry& entry);

  std::span<const std::uint16_t> points_;
  unsigned width_;
  std::vector<CodebookEntry> entries_;
  std::vector<std::uint16_t> lists_;
};

// Per point its values as bytes, the first lowest: byte i is levels[level i]. A point of four fills
// the lower half.
std::vector<std::uint64_t> expand_points(std::span<const std::uint16_t> points, unsigned width,
                                         std::span<const std::uint8_t> levels);

}  // namespace qwodel
