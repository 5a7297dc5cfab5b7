// Rows in a file without a name, to be read again part by part.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "core/matrix.h"
#include "graph/executor.h"
#include "io/positioned_file.h"

namespace qwodel {

class RowSpool {
 public:
  // Rows are kept in the type `compute`, f32 or bf16. `directory` must exist.
  RowSpool(std::size_t width, std::size_t parts, ComputeType compute,
           const std::filesystem::path& directory);

  // Throws DependencyError (not_enough_space when the disk is full).
  void append(std::size_t part, ConstMatrixView rows);

  // A part's rows as they were appended: runs, in order.
  void visit(std::size_t part, const std::function<void(ConstMatrixView)>& use) const;

 private:
  struct Run {
    std::uint64_t offset = 0;
    std::size_t rows = 0;
  };

  std::size_t row_bytes() const;

  std::size_t width_;
  ComputeType compute_;
  std::vector<std::vector<Run>> runs_;  // of each part
  PositionedFile file_;
  std::uint64_t size_ = 0;
};

}  // namespace qwodel
