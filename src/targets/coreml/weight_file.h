// What fills the blobs of a package's weight file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "formats/mlpackage/blob_file.h"
#include "graph/graph.h"
#include "targets/coreml/compression.h"

namespace qwodel {

inline constexpr std::size_t kNoBlob = std::numeric_limits<std::size_t>::max();

// Rows of each head that are put into another order: pair i of the rotated columns, which lie at
// first + 2i and first + 2i + 1, goes to first + i and first + pairs + i.
struct HeadOrder {
  std::uint64_t head_dim = 0;  // 0: the rows stay
  std::uint64_t first = 0;
  std::uint64_t pairs = 0;

  // The row of the source that comes at `row`.
  std::uint64_t source_row(std::uint64_t row) const {
    if (head_dim == 0) return row;
    const std::uint64_t at = row % head_dim;
    if (at < first || at >= first + 2 * pairs) return row;
    const std::uint64_t i = at - first;
    const std::uint64_t from = i < pairs ? 2 * i : 2 * (i - pairs) + 1;
    return row - at + first + from;
  }
  bool operator==(const HeadOrder&) const = default;
};

// A weight of the graph and its blobs (indices into the layout).
struct StoredWeight {
  WeightId weight = kNoId;
  WeightScheme scheme;
  std::uint64_t rows = 0;
  std::uint64_t columns = 0;
  std::uint64_t first_row = 0;  // of the weight: rows before it are not stored
  HeadOrder order;
  std::size_t codes = kNoBlob;
  std::size_t scales = kNoBlob;
  std::size_t offsets = kNoBlob;
  std::size_t tables = kNoBlob;
};

// Values that are made, not read: rotary tables, zeros.
struct StoredConstant {
  std::size_t blob = kNoBlob;
  std::vector<std::byte> bytes;
};

struct WeightFile {
  BlobLayout layout;
  std::vector<StoredWeight> weights;
  std::vector<StoredConstant> constants;
};

}  // namespace qwodel
