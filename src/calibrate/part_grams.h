// The Gram matrices of an input's parts (the experts of a layer, or the one matrix of a linear) in
// bounded memory.
//
// Where all of them find room they are summed as rows come. Otherwise the rows go to a file, and at
// the end the matrices are made of them one after the other, in bands of rows that find room: the
// same products added in the same order, so the same values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "calibrate/gram_sum.h"
#include "calibrate/row_spool.h"
#include "core/matrix.h"
#include "graph/executor.h"
#include "graph/task_threads.h"

namespace qwodel {

class PartGrams {
 public:
  // `memory` is for the sums in double; what is handed out takes half as much again. `scratch` is
  // the directory of the file, made only when it is needed.
  PartGrams(std::size_t width, std::size_t parts, ComputeType compute, std::uint64_t memory,
            const std::filesystem::path& scratch);

  bool is_spooled() const { return spool_.has_value(); }

  // Bytes that all sums take when they are in memory together, else 0.
  std::uint64_t held() const { return held_; }

  void add(std::size_t part, ConstMatrixView rows, const TaskThreads& threads);

  // Values [first, first + values.size()) of all parts' lower triangles, one part after the other.
  using Emit = std::function<void(std::uint64_t first, std::span<const float> values)>;

  // Hands out all values, in order, and frees the sums. `memory` as above.
  void finish(std::uint64_t memory, const TaskThreads& threads, const Emit& emit);

 private:
  void finish_spooled(std::size_t part, std::uint64_t memory, const TaskThreads& threads,
                      const Emit& emit) const;

  std::size_t width_;
  ComputeType compute_;
  std::uint64_t held_ = 0;
  std::vector<std::optional<GramSum>> sums_;  // of parts that have rows
  std::optional<RowSpool> spool_;
};

}  // namespace qwodel
