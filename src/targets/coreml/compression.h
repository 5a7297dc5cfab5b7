// How a weight of a Core ML package is stored, and what that consists of.
//
//   float16   the values
//   linear    integer codes; value = scale * (code - offset)
//   palette   indices into tables of halves
//
// A weight is a matrix [rows, columns]: rows are output channels (or entries of a vocabulary),
// columns inputs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace qwodel {

enum class WeightForm : std::uint8_t { float16, linear, palette };

struct WeightScheme {
  WeightForm form = WeightForm::float16;
  unsigned bits = 16;            // linear: 4 or 8; palette: 1, 2, 3, 4, 6 or 8
  bool symmetric = true;         // linear: no offsets
  bool per_tensor = false;       // linear: one scale for all rows
  std::uint64_t block = 0;       // linear: columns that share a scale; 0: all of a row
  std::uint64_t group_rows = 0;  // palette: rows that share a table; 0: all

  bool operator==(const WeightScheme&) const = default;
};

// "fp16", "int4-b32", "palette4-g16".
std::string name_of(const WeightScheme& scheme);

// The parts of a compressed weight, or of some of its rows, as weight.bin holds them.
struct CompressedWeight {
  // One stream of bits over the rows, `bits` for each value, first value in the lowest bits: int4
  // and int8 in two's complement, palettes' indices unsigned. As float16: the halves.
  std::vector<std::byte> codes;
  std::vector<std::uint16_t> scales;  // halves [rows, columns / block]; linear only
  std::vector<std::byte> offsets;  // of the codes' type and packing, one per scale; not symmetric
  std::vector<std::uint16_t> tables;  // halves [rows / group_rows, 2^bits]; palette only
};

}  // namespace qwodel
