// Encodings of weights: float values to blocks of bytes and back.
//
// One file per encoding (or per family of near-identical ones), one row per encoding in
// registry.cc. A codec file documents the block's layout on its struct, with a static_assert on its
// size. Encoders write the bytes that llama.cpp's reference quantizer writes: IEEE single
// precision, the reference's order of operations, no fused multiply-add. Loops that need the
// machine live in kernels/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/tensor_type.h"

namespace qwodel {

// The block as a method sees it that decides values one after the other (GPTQ): fix the scales, ask
// for the nearest representable values, write the bytes. One object holds one block's state.
class BlockGrid {
 public:
  virtual ~BlockGrid() = default;

  // Chooses the block's parameters for values [block_size]; importance is empty or block_size
  // values.
  virtual void fit(std::span<const float> values, std::span<const float> importance) = 0;

  // How many neighbouring values are decided together: 1, or 4 or 8 for codebook encodings.
  virtual std::size_t snap_width() const { return 1; }

  // Stores the codes nearest to values[0 .. snap_width) at position `first` (a multiple of
  // snap_width) under the fitted parameters; writes what they decode to.
  virtual void snap(std::size_t first, std::span<const float> values, std::span<float> decoded) = 0;

  // Bytes of the block: parameters and the codes stored last.
  virtual void pack(std::span<std::byte> block) const = 0;
};

struct ScalarLayout;  // codecs/scalar_layout.h

struct Codec {
  TensorType type;

  // The reference refuses to encode without importance.
  bool needs_importance = false;

  // Encodes `rows` rows of `cols` values (whole blocks). `importance` is null or `cols` weights
  // shared by all rows. `out` holds bytes_of(type, rows * cols). Values must be finite.
  // Thread-safe.
  void (*encode)(const float* values, std::size_t rows, std::size_t cols, const float* importance,
                 std::byte* out);

  // Decodes `count` values (whole blocks).
  void (*decode)(const std::byte* blocks, std::size_t count, float* values);

  // Makes the fit / snap / pack view; null for plain float types.
  std::unique_ptr<BlockGrid> (*make_grid)() = nullptr;

  // How its scales and codes make values; null where values of a block are coded together.
  const ScalarLayout* scalar = nullptr;
};

// All codecs, in the order of TensorType.
std::span<const Codec* const> codecs();

// The codec of a type, or null when it has none (integers).
const Codec* find_codec(TensorType type);

}  // namespace qwodel
