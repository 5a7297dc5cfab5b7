// Error feedback into the tensors of a GGUF: which have second moments of their inputs, and the
// factor of each as long as tiles need it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "calibrate/statistics.h"
#include "methods/block_feedback.h"
#include "pipeline/tensor_folds.h"
#include "pipeline/tile_encoder.h"
#include "plan/tensor_plan.h"

namespace qwodel {

// Fewer tokens say too little about the correlation of an input's columns (an expert that was
// hardly ever chosen): such a matrix is encoded with its importance.
bool enough_for_feedback(std::uint64_t tokens, std::uint64_t cols);

// Serves tiles from several threads at once, in any order; each row of a tensor once.
class GgufFeedback final : public RowEncoder {
 public:
  // Everything must outlive it; `folds` may be null. REQUIRES: the statistics have second moments.
  GgufFeedback(const std::vector<PlanInput>& inputs, const TensorPlan& plan,
               const StatisticsFile& statistics, const TensorFolds* folds,
               const BlockFeedbackOptions& options);

  // Whether tensor `planned` of the plan is encoded with feedback: its type has scales and codes of
  // single values, and its inputs were seen by enough tokens.
  static bool can_encode(const PlanInput& input, const PlannedTensor& planned,
                         const StatisticsFile& statistics);

  bool encodes(const Tile& tile) const override;
  void encode(const Tile& tile, ConstMatrixView values, std::byte* out) const override;

 private:
  using Key = std::pair<std::size_t, std::size_t>;  // input of the statistics, part
  struct Entry {
    std::mutex mutex;
    std::shared_ptr<const BlockHessian> hessian;
    std::uint64_t rows_left = 0;
    bool known = false;  // enough tokens
  };

  std::optional<Key> key_of(const Tile& tile) const;
  std::shared_ptr<const BlockHessian> hessian(const Key& key, const Tile& tile) const;

  const std::vector<PlanInput>& inputs_;
  const TensorPlan& plan_;
  const StatisticsFile& statistics_;
  const TensorFolds* folds_;
  BlockFeedbackOptions options_;
  mutable std::map<Key, Entry> entries_;
};

}  // namespace qwodel
