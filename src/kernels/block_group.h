// Which blocks share a vector: kernels that search parameters put one block into each lane.
#pragma once

#include <array>
#include <cstddef>

namespace qwodel {

// No kernel uses more lanes than this (AVX-512: 16 floats).
inline constexpr std::size_t kMaxLanes = 16;

// Rows of whole blocks, seen as one sequence of blocks.
struct BlockRows {
  const float* values;
  std::size_t rows;
  std::size_t cols;
  const float* importance;  // [cols], or null
  std::size_t block_size;

  std::size_t count() const { return rows * (cols / block_size); }
};

// Up to kMaxLanes blocks. Lanes beyond `count` repeat the last block: their results are dropped.
struct BlockGroup {
  std::array<const float*, kMaxLanes> values;
  std::array<const float*, kMaxLanes> importance;  // all null when there is none
  std::size_t count;

  BlockGroup(const BlockRows& rows, std::size_t first, std::size_t lanes)
      : count(lanes < rows.count() - first ? lanes : rows.count() - first) {
    const std::size_t per_row = rows.cols / rows.block_size;
    for (std::size_t lane = 0; lane < kMaxLanes; ++lane) {
      const std::size_t block = first + (lane < count ? lane : count - 1);
      values[lane] = rows.values + block * rows.block_size;
      importance[lane] = rows.importance == nullptr
                             ? nullptr
                             : rows.importance + block % per_row * rows.block_size;
    }
  }
};

}  // namespace qwodel
