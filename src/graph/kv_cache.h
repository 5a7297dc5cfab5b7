// Keys and values of the positions so far, per attention operation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "core/matrix.h"

namespace qwodel {

// Of one sequence, in f32. Grows as needed.
class KvCache {
 public:
  struct Entry {
    std::vector<float> keys;
    std::vector<float> values;
  };

  // Positions that all stages have seen.
  std::uint64_t length() const { return length_; }
  void set_length(std::uint64_t length) { length_ = length; }

  Entry& entry(std::size_t stage, std::size_t op) { return entries_[{stage, op}]; }

  // Appends rows and returns all of them.
  static ConstMatrixView append(std::vector<float>& stored, ConstMatrixView rows) {
    for (std::size_t i = 0; i < rows.rows; ++i) {
      const auto row = rows.row(i);
      stored.insert(stored.end(), row.begin(), row.end());
    }
    return {stored.data(), stored.size() / rows.cols, rows.cols};
  }

 private:
  std::uint64_t length_ = 0;
  std::map<std::pair<std::size_t, std::size_t>, Entry> entries_;
};

}  // namespace qwodel
