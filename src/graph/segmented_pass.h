// A forward pass that stops before linears, so that a method can look at what they read and change
// their weights before they run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "core/matrix.h"
#include "graph/executor.h"
#include "graph/executor_state.h"
#include "graph/factor_rows.h"
#include "graph/hidden_store.h"
#include "graph/stage_progress.h"

namespace qwodel {

// Where a pass stops: before an operation of a stage.
struct PassCut {
  std::size_t stage = 0;
  std::size_t op = 0;

  auto operator<=>(const PassCut&) const = default;
};

// Between two cuts all batches run; values that later operations of the stage read are kept for all
// tokens, in memory up to the executor's cap for hidden states and then in a file.
class SegmentedPass {
 public:
  // All must outlive it. `cuts` rising. Throws as Executor::forward().
  SegmentedPass(const Executor& executor, const TokenSequences& sequences,
                std::vector<PassCut> cuts);

  // Runs on to the next cut; nothing after the last. Weights are read when the operations that use
  // them run.
  std::optional<PassCut> advance();

  std::size_t batches() const { return batches_.size(); }

  // Calls visit(part, rows) with what the linear at the cut reads in a batch: all rows, or for an
  // ExpertLinearOp those of each expert that has some, for a HeadLinearOp those of each head. They
  // are bf16 where products are, unless other operations read them, too. Can be called again.
  using Visit = std::function<void(std::size_t part, const FactorRows& rows)>;
  void visit(std::size_t batch, const Visit& visit) const;

 private:
  template <class T>
  using StoresOf = std::map<ValueId, std::unique_ptr<HiddenStore<T>>>;

  void enter_stage();
  void leave_stage();
  void run_segment();
  LiveValues take(std::size_t batch);
  void put(std::size_t batch, LiveValues live);
  void put_output(std::size_t batch, AlignedBuffer<float> rows);
  template <class T>
  HiddenStore<T>& store_of(ValueId value, StoresOf<T>& stores);
  template <class T>
  std::unique_ptr<HiddenStore<T>> make_store(const std::vector<std::size_t>& rows,
                                             std::uint64_t width, std::uint64_t memory) const;

  Executor::State* state_;
  std::vector<Batch> batches_;
  std::vector<PassCut> cuts_;
  std::size_t next_cut_ = 0;
  StageProgress progress_;

  std::optional<StageRunner> runner_;  // of the stage that runs
  std::size_t stage_ = 0;
  std::size_t segment_ = 0;
  StoresOf<float> live_;
  StoresOf<std::uint16_t> factors_;                   // those that only linears read, as bf16
  std::vector<ValueId> incoming_;                     // values that the running segment takes
  std::vector<ValueId> incoming_factors_;             // of those, the ones in factors_
  std::vector<std::map<ValueId, Routing>> routings_;  // of each batch
  std::unique_ptr<HiddenStore<float>> hidden_;        // between stages
};

}  // namespace qwodel
