// What the codebook encodings (IQ2 and IQ3) share: the way from rows to blocks and back, and the
// fit / snap / pack view. An encoding is a CodebookFormat; its file adds the layout of the bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "codecs/codebook.h"
#include "codecs/codec.h"
#include "kernels/point_blocks.h"

namespace qwodel {

struct CodebookFormat {
  PointRecipe recipe;
  unsigned width;                        // values per point: 8 or 4
  std::span<const std::uint8_t> levels;  // a level decodes to sign * levels[level] * scale,
  float factor;                          // scale = d * (0.5 + scale code) * factor
  const Codebook& (*codebook)();         // made at the first call
  const std::uint64_t* (*expanded)();    // by point number, as expand_points makes them
  std::size_t block_bytes;
  void (*pack)(const PointBlock& block, std::byte* out);
  void (*unpack)(const std::byte* in, PointBlock& block);
};

inline constexpr std::array<std::uint8_t, 3> kIq2Levels = {8, 25, 43};

void encode_codebook(const CodebookFormat& format, const float* values, std::size_t rows,
                     std::size_t cols, const float* importance, std::byte* out);
void decode_codebook(const CodebookFormat& format, const std::byte* in, std::size_t count,
                     float* values);

// Values are snapped in groups that share a point, or in eights where these share a constraint on
// their signs. `format` must outlive the grid.
std::unique_ptr<BlockGrid> make_codebook_grid(const CodebookFormat& format);

// Four groups of seven signs and a scale code in 32 bits, as IQ2_XXS and IQ3_XXS keep them.
std::uint32_t pack_signs_and_scale(const std::uint8_t* signs, std::uint8_t scale);
void unpack_signs_and_scale(std::uint32_t word, std::uint8_t* signs, std::uint8_t& scale);

// The eighth sign makes the number of negative ones even.
std::uint8_t with_eighth_sign(unsigned seven_signs);

// Scale codes two to the byte, the first in the lower half.
void pack_scales(const PointBlock& block, std::span<std::uint8_t> out);
void unpack_scales(std::span<const std::uint8_t> in, PointBlock& block);

}  // namespace qwodel
