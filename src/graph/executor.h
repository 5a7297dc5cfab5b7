// Runs a graph on the CPU, stage by stage over all tokens.
//
// One stage's operations run over one batch of whole sequences after the other; only hidden states
// stay between stages, in memory up to a cap and then in a file without a name. Weights are decoded
// tile by tile into the product, so a quantized model runs in its own size. Matrix products are
// oneDNN's, single-threaded inside tasks of fixed size: results do not depend on the number of
// threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "core/matrix.h"
#include "graph/buffer_pool.h"
#include "graph/compute_type.h"
#include "graph/graph.h"
#include "graph/graph_weights.h"
#include "qwodel/progress.h"

namespace qwodel {

struct ExecutorOptions {
  ComputeType compute = ComputeType::automatic;
  int threads = 0;                                       // 0: all cores
  std::uint64_t batch_tokens = 4096;                     // whole sequences, at least one
  std::uint64_t hidden_memory = std::uint64_t{1} << 30;  // bytes of hidden states held in memory
  std::uint64_t weight_memory = std::uint64_t{1} << 29;  // bytes of decoded weights held for reuse
  std::filesystem::path scratch;  // directory of the file beyond; empty: the system's
  ProgressCallback progress = {};
  const CancelToken* cancel = nullptr;
  std::shared_ptr<BufferPool> buffers = {};  // for executors that run in turns; null: its own
};

// Sequences of token ids, one after the other. Attention never crosses sequences; positions start
// at 0 in each.
struct TokenSequences {
  std::vector<std::uint32_t> tokens;
  std::vector<std::uint64_t> ends;  // end of each sequence in `tokens`, increasing

  void append(std::span<const std::uint32_t> sequence);
  std::uint64_t size() const { return ends.size(); }
};

// Rows that linears read, as they pass. Called from one thread, batches in order; values of a batch
// in the order of the operations that read them.
class ActivationObserver {
 public:
  virtual ~ActivationObserver() = default;

  // `op` is the first linear of its kind in the stage that reads the value. Rows are those of the
  // batch, or for an ExpertLinearOp those of one expert (called once per expert that has rows), for
  // a HeadLinearOp those of one head; `part` is the expert or head, else 0.
  virtual void on_input(std::size_t stage, std::size_t op, std::size_t part,
                        ConstMatrixView rows) = 0;

  // All batches of the stage have run.
  virtual void on_stage_end(std::size_t stage) { static_cast<void>(stage); }
};

// Keeps what stages give outside the executor, so that a pass that was stopped goes on after the
// last whole stage. Called from the observer's thread.
class StageKeeper {
 public:
  virtual ~StageKeeper() = default;

  // Stages before this one are not run; the output of the one before it is loaded. 0: run all.
  virtual std::size_t first_stage() const = 0;

  // Rows [first_row, first_row + out.rows) of that output.
  virtual void load(std::uint64_t first_row, MatrixView out) const = 0;

  // Rows of the output of a stage, batches in order, before on_stage_end().
  virtual void save(std::size_t stage, std::uint64_t first_row, ConstMatrixView rows) = 0;
};

template <class T>
class HiddenStore;
class KvCache;
class SegmentedPass;

// The last hidden states of a forward pass: rows that the head's linear reads, [tokens,
// hidden_size], in memory or in a file.
class HeadInput {
 public:
  explicit HeadInput(std::unique_ptr<HiddenStore<float>> store);
  ~HeadInput();

  std::uint64_t tokens() const;

  // Copies rows [first_token, first_token + out.rows).
  void read(std::uint64_t first_token, MatrixView out) const;

  const HiddenStore<float>& store() const { return *store_; }

 private:
  std::unique_ptr<HiddenStore<float>> store_;
};

class Executor {
 public:
  // `graph` and `weights` must outlive it. Throws ValidationError when the graph is not valid.
  Executor(const Graph& graph, const GraphWeights& weights, ExecutorOptions options);
  ~Executor();

  // The type that automatic came to.
  ComputeType compute() const;

  // Runs all stages up to the head's linear. Throws ValidationError for a token id out of range or
  // activations that are not finite (names the stage), Error(interrupted) when cancelled.
  std::unique_ptr<HeadInput> forward(const TokenSequences& sequences,
                                     ActivationObserver* observer = nullptr,
                                     StageKeeper* keeper = nullptr) const;

  // Logits of tokens [first_token, first_token + out.rows) for vocabulary columns [first_column,
  // first_column + out.cols).
  void logits(const HeadInput& input, std::uint64_t first_token, std::uint64_t first_column,
              MatrixView out) const;

  // The same for rows that were copied out of head inputs: [out.rows, hidden_size].
  void logits(ConstMatrixView hidden, std::uint64_t first_column, MatrixView out) const;

  // Runs tokens that follow those the cache has seen and adds them to it. Returns the logits after
  // the last one, [vocab_size]. Weights stay decoded between calls as far as weight_memory allows.
  // Throws as forward() does; the cache is then of no further use.
  std::vector<float> extend(KvCache& cache, std::span<const std::uint32_t> tokens) const;

 private:
  friend class SegmentedPass;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace qwodel
