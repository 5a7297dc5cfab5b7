// A pass in segments computes what a whole one computes, and shows what linears read.
#include "graph/segmented_pass.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "calibrate/linear_input.h"
#include "pipeline/running_model.h"

namespace qwodel {
namespace {

using Rows = std::map<std::pair<std::size_t, std::size_t>, std::vector<float>>;

RunOptions stories() {
  RunOptions options;
  options.model = std::filesystem::path(QWODEL_SOURCE_DIR) / "models" / "stories260K";
  return options;
}

TokenSequences sequences() {
  TokenSequences result;
  for (const std::size_t length : {std::size_t{70}, std::size_t{300}, std::size_t{5}}) {
    std::vector<std::uint32_t> tokens(length);
    for (std::size_t i = 0; i < length; ++i) {
      tokens[i] = static_cast<std::uint32_t>((i * 155 + 3) % 512);
    }
    result.append(tokens);
  }
  return result;
}

class RowCollector final : public ActivationObserver {
 public:
  void on_input(std::size_t stage, std::size_t op, std::size_t, ConstMatrixView rows) override {
    add(collected[{stage, op}], rows);
  }
  static void add(std::vector<float>& to, ConstMatrixView rows) {
    for (std::size_t r = 0; r < rows.rows; ++r) {
      to.insert(to.end(), rows.row(r).begin(), rows.row(r).end());
    }
  }
  Rows collected;
};

std::vector<PassCut> all_cuts(const Graph& graph) {
  std::vector<PassCut> cuts;
  for (const LinearInput& input : linear_inputs(graph)) {
    if (input.stage + 1 < graph.stages.size()) cuts.push_back({input.stage, input.op});
  }
  return cuts;
}

TEST(SegmentedPass, ShowsWhatAWholePassShows) {
  const RunningModel model(stories());
  const TokenSequences tokens = sequences();
  for (const std::uint64_t hidden_memory : {std::uint64_t{1} << 30, std::uint64_t{0}}) {
    ExecutorOptions options;
    options.batch_tokens = 300;
    options.hidden_memory = hidden_memory;
    const Executor executor(model.graph, model.weights, options);
    RowCollector whole;
    executor.forward(tokens, &whole);
    SegmentedPass pass(executor, tokens, all_cuts(model.graph));
    std::size_t cuts = 0;
    while (const auto cut = pass.advance()) {
      std::vector<float> rows;
      for (std::size_t b = 0; b < pass.batches(); ++b) {
        pass.visit(b, [&](std::size_t, ConstMatrixView part) { RowCollector::add(rows, part); });
      }
      ASSERT_EQ(rows, whole.collected.at({cut->stage, cut->op})) << cut->stage << ", " << cut->op;
      ++cuts;
    }
    EXPECT_EQ(cuts, 20u);  // five layers: q k v, o, gate and up, down
    EXPECT_EQ(cuts + 1, whole.collected.size());
  }
}

// Weights that can be changed while a pass runs.
class ScaledWeights final : public GraphWeights {
 public:
  explicit ScaledWeights(const GraphWeights& source) : source_(source) {}
  void read(WeightId weight, std::uint64_t first, std::span<float> out) const override {
    source_.read(weight, first, out);
    const auto found = factors.find(weight);
    if (found == factors.end()) return;
    for (float& value : out) value *= found->second;
  }
  void will_need(WeightId) const override {}
  void done_with(WeightId) const override {}

  std::map<WeightId, float> factors;

 private:
  const GraphWeights& source_;
};

TEST(SegmentedPass, ChangedWeightsActFromTheirCutOn) {
  const RunningModel model(stories());
  const TokenSequences tokens = sequences();
  const auto inputs = linear_inputs(model.graph);
  ScaledWeights changed(model.weights);
  changed.factors[inputs[1].weights.front()] = 2.0f;  // the first layer's o_proj
  const Executor reference(model.graph, changed, {});
  RowCollector want;
  reference.forward(tokens, &want);

  ScaledWeights weights(model.weights);
  const Executor executor(model.graph, weights, {});
  SegmentedPass pass(executor, tokens, all_cuts(model.graph));
  for (std::size_t i = 0; i < 3; ++i) {
    const auto cut = pass.advance();
    ASSERT_TRUE(cut);
    std::vector<float> rows;
    for (std::size_t b = 0; b < pass.batches(); ++b) {
      pass.visit(b, [&](std::size_t, ConstMatrixView part) { RowCollector::add(rows, part); });
    }
    EXPECT_EQ(rows, want.collected.at({cut->stage, cut->op}));
    if (i == 1) weights.factors = changed.factors;
  }
}

}  // namespace
}  // namespace qwodel
