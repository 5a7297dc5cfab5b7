#include "pipeline/fold_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "graph/executor.h"
#include "pipeline/fold_weights.h"
#include "pipeline/one_layer.h"
#include "pipeline/progress_meter.h"
#include "qwodel/error.h"
#include "sources/replaceable_weights.h"

namespace qwodel {
namespace {

constexpr std::uint32_t kTokens = 16;

// What every stage gives.
class StageOutputs final : public StageKeeper {
 public:
  std::size_t first_stage() const override { return 0; }
  void load(std::uint64_t, MatrixView) const override {}
  void save(std::size_t, std::uint64_t, ConstMatrixView rows) override {
    outputs.push_back(copy_rows(rows));
  }

  std::vector<HiddenRows> outputs;
};

// Token ids all over the vocabulary.
TokenSequences check_tokens(const Graph& graph) {
  constexpr std::uint64_t kStep = 2654435761;
  std::vector<std::uint32_t> ids;
  for (std::uint64_t i = 1; i <= kTokens; ++i) {
    ids.push_back(static_cast<std::uint32_t>(i * kStep % graph.vocab_size));
  }
  TokenSequences sequences;
  sequences.append(ids);
  return sequences;
}

// Of `changed` against what a layer made of `input`, every token counting alike.
double relative_change(const HiddenRows& input, const HiddenRows& output,
                       const HiddenRows& changed) {
  const std::size_t width = input.size() / kTokens;
  double total = 0;
  for (std::size_t first = 0; first < input.size(); first += width) {
    double difference = 0;
    double added = 0;
    for (std::size_t i = first; i < first + width; ++i) {
      difference += std::pow(static_cast<double>(changed[i]) - static_cast<double>(output[i]), 2);
      added += std::pow(static_cast<double>(output[i]) - static_cast<double>(input[i]), 2);
    }
    if (difference > 0) total += added > 0 ? difference / added : difference;
  }
  return std::sqrt(total / kTokens);
}

class FoldCheck {
 public:
  FoldCheck(const LinearTask& task, AwqFolds& folds)
      : task_(task),
        folds_(folds),
        tokens_(check_tokens(task.graph)),
        weights_(task.graph, task.model.spec, *task.model.weights),
        layer_(task.graph, weights_, options()) {}

  void run() {
    std::map<std::size_t, std::vector<std::size_t>> by_stage;
    for (std::size_t i = 0; i < folds_.folds.size(); ++i) {
      if (!folds_.folds[i].scaled.empty()) by_stage[folds_.folds[i].stage].push_back(i);
    }
    if (by_stage.empty()) return;
    StageOutputs outputs;
    Executor(task_.graph, weights_, options()).forward(tokens_, nullptr, &outputs);
    outputs_ = std::move(outputs.outputs);
    for (const auto& [stage, folds] : by_stage) check(stage, folds);
  }

 private:
  // All of a stage at once; one by one only when something is wrong.
  void check(std::size_t stage, const std::vector<std::size_t>& folds) {
    throw_if_cancelled(task_.cancel);
    const double together = measure(stage, folds);
    for (const std::size_t i : folds) folds_.folds[i].change = together;
    if (together <= kLargestFoldChange) return;
    std::vector<std::size_t> left;
    for (const std::size_t i : folds) {
      folds_.folds[i].change = measure(stage, {i});
      if (folds_.folds[i].change <= kLargestFoldChange) {
        left.push_back(i);
      } else {
        take_back(i);
      }
    }
    const double rest = measure(stage, left);
    if (rest <= kLargestFoldChange) return;
    for (const std::size_t i : left) {
      folds_.folds[i].change = rest;
      take_back(i);
    }
  }

  double measure(std::size_t stage, const std::vector<std::size_t>& folds) {
    const AwqFolds chosen = only(folds);
    fold_weights(task_, chosen, weights_);
    const double change = change_of_layer(stage);
    for (const auto& [source, values] : chosen.replaced) weights_.replace(source, {});
    for (std::size_t i = 0; i < chosen.columns.size(); ++i) {
      if (chosen.columns[i].empty() && chosen.rows[i].empty()) continue;
      weights_.replace(task_.plan.linears[i].source, {});
    }
    return change;
  }

  double change_of_layer(std::size_t stage) const {
    const HiddenRows& input = outputs_[stage - 1];
    try {
      return relative_change(input, outputs_[stage], layer_.run(stage, tokens_, input));
    } catch (const ValidationError&) {  // not finite any more
      return std::numeric_limits<double>::infinity();
    }
  }

  AwqFolds only(const std::vector<std::size_t>& folds) const {
    AwqFolds chosen;
    chosen.columns.resize(folds_.columns.size());
    chosen.rows.resize(folds_.rows.size());
    for (const std::size_t f : folds) {
      const AwqFold& fold = folds_.folds[f];
      for (const std::size_t i : fold.scaled) chosen.columns[i] = folds_.columns[i];
      if (fold.divided) chosen.rows[*fold.divided] = folds_.rows[*fold.divided];
      for (const std::uint32_t source : fold.replaced) {
        chosen.replaced[source] = folds_.replaced.at(source);
      }
    }
    return chosen;
  }

  void take_back(std::size_t f) {
    AwqFold& fold = folds_.folds[f];
    for (const std::size_t i : fold.scaled) folds_.columns[i].clear();
    if (fold.divided) folds_.rows[*fold.divided].clear();
    for (const std::uint32_t source : fold.replaced) folds_.replaced.erase(source);
    fold.refused = true;
  }

  ExecutorOptions options() const {
    return {.compute = ComputeType::f32,
            .threads = task_.threads,
            .scratch = {},
            .cancel = task_.cancel};
  }

  LinearTask task_;
  AwqFolds& folds_;
  TokenSequences tokens_;
  ReplaceableWeights weights_;
  OneLayer layer_;
  std::vector<HiddenRows> outputs_;  // of stages, without scales
};

}  // namespace

void check_folds(const LinearTask& task, AwqFolds& folds) { FoldCheck(task, folds).run(); }

std::vector<std::string> fold_warnings(const AwqFolds& folds) {
  std::vector<std::string> all;
  for (const AwqFold& fold : folds.folds) {
    if (!fold.refused) continue;
    all.push_back(
        fmt::format("scales of what {} reads, taken by {}, change what their layer gives by {:.1e} "
                    "and were left out; please report this model",
                    fold.reader, fold.absorber, fold.change));
  }
  return all;
}

}  // namespace qwodel
