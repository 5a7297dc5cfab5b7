// Activations of all tokens between two steps of a pass: per batch, in memory up to a cap, then in
// a file without a name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "core/matrix.h"
#include "graph/aligned_buffer.h"
#include "io/positioned_file.h"

namespace qwodel {

// T is float, or uint16_t for bf16.
template <class T>
class HiddenStore {
 public:
  using Value = T;

  // `rows` of each batch, all `width` wide. `scratch` is the directory of the file; empty: the
  // system's.
  HiddenStore(std::vector<std::size_t> rows, std::size_t width, std::uint64_t memory,
              std::filesystem::path scratch);

  std::size_t width() const { return width_; }
  std::size_t batches() const { return rows_.size(); }
  std::size_t rows(std::size_t batch) const { return rows_[batch]; }

  // Takes the rows of a batch out, from memory or into `spare`. Throws DependencyError when the
  // file cannot be read.
  AlignedBuffer<T> take(std::size_t batch, AlignedBuffer<T> spare);

  // Puts rows in place of those taken. Returns the buffer when its content went to the file, else
  // an empty one. Throws DependencyError (not_enough_space when the disk is full).
  AlignedBuffer<T> put(std::size_t batch, AlignedBuffer<T> values);

  // The rows of a batch where they lie, or read from the file into `spare`.
  Matrix<const T> view(std::size_t batch, AlignedBuffer<T>& spare) const;

  // True when take() would read the file.
  bool is_in_file(std::size_t batch) const { return batch >= in_memory_; }

  // Copies rows [first, first + out.rows) of all tokens. Thread-safe while nothing is put.
  void read(std::uint64_t first, Matrix<T> out) const;

  std::uint64_t tokens() const { return begins_.back(); }

 private:
  std::uint64_t row_bytes() const { return width_ * sizeof(T); }
  std::uint64_t offset_of(std::uint64_t row) const;
  void read_batch(std::size_t batch, AlignedBuffer<T>& to) const;

  std::vector<std::size_t> rows_;
  std::vector<std::uint64_t> begins_;  // first row of each batch, and the end
  std::size_t width_;
  std::size_t in_memory_ = 0;  // batches that stay in memory
  std::filesystem::path scratch_;
  std::vector<AlignedBuffer<T>> buffers_;
  std::optional<PositionedFile> file_;
};

}  // namespace qwodel
