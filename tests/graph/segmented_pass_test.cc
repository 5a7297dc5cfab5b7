// A pass in segments computes what a whole one computes, and shows what linears read.
#include "graph/segmented_pass.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "calibrate/linear_input.h"
#include "kernels/convert.h"
#include "models/build_graph.h"
#include "pipeline/running_model.h"
#include "tests/models/golden_spec.h"
#include "tests/models/recipe_weights.h"

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
  static void add(std::vector<float>& to, Matrix<const std::uint16_t> rows) {
    std::vector<float> values(rows.cols);
    for (std::size_t r = 0; r < rows.rows; ++r) {
      bfloat16_to_float(rows.row(r).data(), rows.cols, values.data());
      to.insert(to.end(), values.begin(), values.end());
    }
  }
  Rows collected;
};

// As products of an executor take them.
std::vector<float> as_factor(std::vector<float> rows, ComputeType compute) {
  if (compute != ComputeType::bf16) return rows;
  std::vector<std::uint16_t> rounded(rows.size());
  float_to_bfloat16(rows.data(), rows.size(), rounded.data());
  bfloat16_to_float(rounded.data(), rows.size(), rows.data());
  return rows;
}

// True when the rows are bf16.
bool add_batch(const SegmentedPass& pass, std::size_t batch, std::vector<float>& to) {
  bool is_bf16 = false;
  pass.visit(batch, [&](std::size_t, const FactorRows& part) {
    is_bf16 = !std::holds_alternative<ConstMatrixView>(part);
    std::visit([&](const auto& rows) { RowCollector::add(to, rows); }, part);
  });
  return is_bf16;
}

std::vector<PassCut> all_cuts(const Graph& graph) {
  std::vector<PassCut> cuts;
  for (const LinearInput& input : linear_inputs(graph)) {
    if (input.stage + 1 < graph.stages.size()) cuts.push_back({input.stage, input.op});
  }
  return cuts;
}

struct Cuts {
  std::size_t all = 0;
  std::size_t bf16 = 0;  // rows are shown as
};

// Compares what two runs show at every cut.
Cuts expect_same_rows(const Graph& graph, const GraphWeights& weights, const TokenSequences& tokens,
                      const ExecutorOptions& options) {
  const Executor executor(graph, weights, options);
  RowCollector whole;
  executor.forward(tokens, &whole);
  SegmentedPass pass(executor, tokens, all_cuts(graph));
  Cuts cuts;
  while (const auto cut = pass.advance()) {
    std::vector<float> rows;
    bool is_bf16 = false;
    for (std::size_t b = 0; b < pass.batches(); ++b) is_bf16 = add_batch(pass, b, rows);
    const std::vector<float>& want = whole.collected.at({cut->stage, cut->op});
    EXPECT_EQ(rows, as_factor(want, is_bf16 ? ComputeType::bf16 : ComputeType::f32))
        << graph.stages[cut->stage].name << ", " << cut->op;
    ++cuts.all;
    if (is_bf16) ++cuts.bf16;
  }
  EXPECT_EQ(cuts.all + 1, whole.collected.size());
  return cuts;
}

class SegmentedPassOf : public testing::TestWithParam<ComputeType> {};

TEST_P(SegmentedPassOf, ShowsWhatAWholePassShows) {
  const RunningModel model(stories());
  for (const std::uint64_t hidden_memory : {std::uint64_t{1} << 30, std::uint64_t{0}}) {
    ExecutorOptions options;
    options.compute = GetParam();
    options.batch_tokens = 300;
    options.hidden_memory = hidden_memory;
    // Five layers: q k v, o, gate and up, down.
    const Cuts cuts = expect_same_rows(model.graph, model.weights, sequences(), options);
    EXPECT_EQ(cuts.all, 20u);
    EXPECT_EQ(cuts.bf16, GetParam() == ComputeType::bf16 ? 20u : 0u);
  }
}

TEST_P(SegmentedPassOf, ShowsRowsOfExpertsAndHeads) {
  for (const char* const name : {"mixtral", "qwen2_moe", "deepseek_v2_lite"}) {
    const std::vector<SourceTensor> tensors = golden_tensors(name);
    const ModelSpec spec = golden_spec(name);
    const Graph graph = build_graph(spec);
    const RecipeWeights weights(graph, spec, tensors);
    TokenSequences tokens;
    for (const std::uint64_t length : {70u, 41u, 64u, 3u}) tokens.append(recipe_tokens(length));
    for (const std::uint64_t hidden_memory : {std::uint64_t{1} << 30, std::uint64_t{0}}) {
      ExecutorOptions options;
      options.compute = GetParam();
      options.batch_tokens = 100;
      options.hidden_memory = hidden_memory;
      const Cuts cuts = expect_same_rows(graph, weights, tokens, options);
      EXPECT_GE(cuts.all, 5u) << name;
      EXPECT_EQ(cuts.bf16, GetParam() == ComputeType::bf16 ? cuts.all : 0u) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, SegmentedPassOf,
                         testing::Values(ComputeType::f32, ComputeType::bf16),
                         [](const auto& type) {
                           return type.param == ComputeType::bf16 ? "bf16" : "f32";
                         });

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
      add_batch(pass, b, rows);
    }
    EXPECT_EQ(rows, as_factor(want.collected.at({cut->stage, cut->op}), executor.compute()));
    if (i == 1) weights.factors = changed.factors;
  }
}

}  // namespace
}  // namespace qwodel
