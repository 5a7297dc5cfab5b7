// One tensor's way from the checkpoint into bytes, a few rows at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/matrix.h"
#include "kernels/error_sums.h"
#include "plan/tensor_plan.h"
#include "sources/model_tensor_reader.h"

namespace qwodel {

// Rows [first_row, first_row + rows) of a tensor.
struct Tile {
  std::size_t tensor = 0;  // index into the plan
  std::uint64_t first_row = 0;
  std::uint64_t rows = 0;
};

// What was measured while a tile was encoded.
struct TileResult {
  std::uint64_t hash = 0;  // XXH3 of the encoded bytes
  ErrorSums errors;        // decoded values against the values before encoding
};

// Another way than the codec's own from rows to bytes.
class RowEncoder {
 public:
  virtual ~RowEncoder() = default;

  // Whether it takes the rows of this tile; else the codec does.
  virtual bool encodes(const Tile& tile) const = 0;

  // Writes the blocks of values [tile.rows, cols], which are finite. May run on several threads at
  // once. Throws QuantizationError.
  virtual void encode(const Tile& tile, ConstMatrixView values, std::byte* out) const = 0;
};

// Immutable; encode() may run on several threads at once, each with its own scratch.
class TileEncoder {
 public:
  struct Scratch {
    std::vector<float> values;
    std::vector<float> decoded;
    std::vector<std::byte> rounded;
    std::vector<std::byte> bytes;
  };

  // `rows` is asked first for tiles that are not copied; null: there is none.
  TileEncoder(const ModelTensorReader& reader, const PlanInput& input, const PlannedTensor& planned,
              const RowEncoder* rows = nullptr);

  // Encodes a tile into scratch.bytes. Throws QuantizationError for values that are not finite, or
  // not finite once encoded (half overflow), naming the tensor and the position.
  TileResult encode(const Tile& tile, Scratch& scratch) const;

  // Tiles of at most about `target_values` values; none crosses from one expert to the next.
  std::vector<Tile> tiles(std::size_t tensor, std::uint64_t target_values) const;

  // Bytes of the buffers that encode() of this tile needs.
  std::uint64_t scratch_bytes(const Tile& tile) const;

  const std::string& name() const { return name_; }
  std::uint64_t cols() const { return cols_; }
  std::uint64_t row_bytes() const { return row_bytes_; }
  const ModelTensorReader& reader() const { return *reader_; }

 private:
  void read_values(const Tile& tile, Scratch& scratch) const;
  bool rounds_to_stored() const;
  void encode_rows(const Tile& tile, Scratch& scratch) const;
  bool copy_stored_blocks(const Tile& tile, Scratch& scratch) const;
  void check_finite(const std::vector<float>& values, const Tile& tile, const char* what,
                    const char* remedy) const;

  const ModelTensorReader* reader_;
  const RowEncoder* row_encoder_;
  std::string name_;
  TensorType stored_;
  TensorType type_;
  const std::vector<float>* importance_;
  std::uint64_t rows_;
  std::uint64_t rows_per_matrix_;
  std::uint64_t cols_;
  std::uint64_t row_bytes_;
};

}  // namespace qwodel
