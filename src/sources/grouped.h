// Weights stored as small unsigned integers with a scale and a zero point per group of columns:
//
//   weight[o, i] = (code[o, i] - zero[o, group(i)]) * scale[o, group(i)]
//
// GPTQ, AWQ and pack-quantized differ only in how they pack codes, zeros and scales.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "codecs/group_int.h"
#include "sources/weights.h"

namespace qwodel {

// A part of a matrix: `rows` x `cols` values from (row, col).
struct Tile {
  std::size_t row = 0;
  std::size_t rows = 0;
  std::size_t col = 0;
  std::size_t cols = 0;
};

// Which group a column belongs to: col / size, or `index` [in] where columns were reordered.
struct ColumnGroups {
  std::size_t count = 0;
  std::size_t size = 0;
  std::span<const std::byte> index;  // int32, any alignment; empty for col / size
};

// Throws ValidationError when an entry of `index` is not below groups.count.
void check_group_index(const ColumnGroups& groups, const std::string& name);

class GroupedTensor : public WeightTensor {
 public:
  void read(std::uint64_t first, std::span<float> out) const final;

  // Codes, scales and zero points as they are stored, with a group_index when columns were
  // reordered. Nothing when rows end within a group.
  std::optional<GroupIntMatrix> codes() const;

 protected:
  // Shape [out, in]. `name` is that of the weight.
  GroupedTensor(std::string name, std::size_t out, std::size_t in, ColumnGroups groups);

  virtual unsigned bits() const = 0;

  // Writes the codes of a tile, row-major [tile.rows, tile.cols].
  virtual void unpack(const Tile& tile, std::uint8_t* codes) const = 0;

  // Writes scales and zero points of rows [row, row + rows), row-major [rows, groups().count].
  virtual void parameters(std::size_t row, std::size_t rows, float* scales, float* zeros) const = 0;

  const ColumnGroups& groups() const { return groups_; }

 private:
  // The group of each column; nothing when they are as if there was no index.
  std::vector<std::uint32_t> reordered_groups() const;
  void decode(const Tile& tile, float* out) const;

  ColumnGroups groups_;
};

// The codes of a tensor that has any.
std::optional<GroupIntMatrix> stored_codes(const WeightTensor& tensor);

// The 32-bit word at a position of packed data that may have any alignment.
std::uint32_t load_word(std::span<const std::byte> words, std::size_t index);

// The `bits` bits from position `bit` of a stream of words, `stride` words apart, beginning at word
// `start`: codes may straddle two words.
std::uint32_t load_code(std::span<const std::byte> words, std::size_t start, std::size_t stride,
                        std::size_t bit, unsigned bits);

}  // namespace qwodel
