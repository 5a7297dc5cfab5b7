// Encodes a weight of a Core ML package: rows at a time where its scheme lets rows stand by
// themselves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "codecs/linear_int.h"
#include "codecs/palette.h"
#include "core/matrix.h"
#include "methods/hessian.h"
#include "methods/palette.h"
#include "targets/coreml/compression.h"

namespace qwodel {

// How the numbers of a scheme are chosen.
struct WeightFit {
  // Scales of least squared error instead of the range of the block, which is what coremltools
  // takes. Of 4-bit codes, symmetric, in blocks of a multiple of 4 columns; others keep the range.
  bool search = false;
  std::vector<float> importance;  // of columns, in squared errors; empty: all the same
};

struct EncodedRows {
  CompressedWeight stored;
  std::vector<float> decoded;  // [rows, columns]
};

// One weight. encode() may be called from several threads at once.
class WeightEncoder {
 public:
  WeightEncoder(const WeightScheme& scheme, WeightFit fit, std::uint64_t rows,
                std::uint64_t columns);
  ~WeightEncoder();
  WeightEncoder(WeightEncoder&&) noexcept;
  WeightEncoder& operator=(WeightEncoder&&) noexcept;

  // Whether all rows share a table or scale, which scan() and finish_scan() must find first.
  bool needs_scan() const;
  void scan(HalfMatrix rows);
  void finish_scan();

  // Rows must come in multiples of this.
  std::uint64_t row_step() const;

  // The first rows handed over bring what all rows share, so that it is stored once.
  EncodedRows encode(HalfMatrix rows, bool first) const;

  // With GPTQ's error feedback: all rows of the weight where they share a table, else as encode().
  // REQUIRES: can_feed_back(). Uses the threads of the calling arena; the codes do not depend on
  // their number.
  EncodedRows encode_with_feedback(HalfMatrix rows, const HessianFactor& factor) const;
  bool can_feed_back() const;

 private:
  struct Shared;

  PaletteScheme palette_scheme() const;
  LinearScheme linear_scheme() const;
  EncodedRows encode_linear(HalfMatrix rows, bool first) const;
  EncodedRows encode_palette(HalfMatrix rows, bool first) const;

  WeightScheme scheme_;
  WeightFit fit_;
  std::uint64_t rows_;
  std::uint64_t columns_;
  std::unique_ptr<Shared> shared_;
};

}  // namespace qwodel
