// Statistics of experts, of heads and of the vocabulary's linear against a direct computation in
// double precision, and the same values whatever the memory for Gram matrices.
#include "calibrate/collector.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "models/build_graph.h"
#include "tests/formats/temp_directory.h"
#include "tests/models/golden_spec.h"
#include "tests/models/recipe_weights.h"

namespace qwodel {
namespace {

using Row = std::vector<double>;

struct TinyModel {
  explicit TinyModel(const std::string& name)
      : tensors(golden_tensors(name)),
        spec(golden_spec(name)),
        graph(build_graph(spec)),
        weights(graph, spec, tensors) {
    for (const std::uint64_t length : {70u, 41u, 64u, 3u}) sequences.append(recipe_tokens(length));
  }

  std::size_t id(const std::string& name) const {
    const auto found = std::ranges::find(graph.weights, name, &GraphWeight::name);
    if (found == graph.weights.end()) throw std::out_of_range(name);
    return static_cast<std::size_t>(found - graph.weights.begin());
  }

  // Rows [first, first + count) of a weight, multiplied by x.
  Row multiply(const std::string& name, std::size_t first, std::size_t count, const Row& x) const {
    std::vector<float> values(count * x.size());
    weights.read(static_cast<WeightId>(id(name)), first * x.size(), values);
    Row out(count);
    for (std::size_t i = 0; i < count; ++i) {
      for (std::size_t j = 0; j < x.size(); ++j) {
        out[i] += static_cast<double>(values[i * x.size() + j]) * x[j];
      }
    }
    return out;
  }

  std::vector<SourceTensor> tensors;
  ModelSpec spec;
  Graph graph;
  RecipeWeights weights;
  TokenSequences sequences;
};

// Hands everything on to a collector and keeps the rows of inputs that have one part.
class Recorder : public ActivationObserver {
 public:
  Recorder(const Graph& graph, ActivationObserver& next) : next_(next) {
    for (const LinearInput& input : linear_inputs(graph)) {
      if (input.kind != InputParts::whole) continue;
      for (const WeightId weight : input.weights) {
        by_name_[graph.weights[weight].name] = {input.stage, input.op};
      }
    }
  }

  void on_input(std::size_t stage, std::size_t op, std::size_t part,
                ConstMatrixView rows) override {
    next_.on_input(stage, op, part, rows);
    auto& kept = rows_[{stage, op}];
    for (std::size_t i = 0; i < rows.rows; ++i) {
      kept.emplace_back(rows.row(i).begin(), rows.row(i).end());
    }
  }
  void on_stage_end(std::size_t stage) override { next_.on_stage_end(stage); }

  const std::vector<Row>& rows_of(const std::string& weight) const {
    return rows_.at(by_name_.at(weight));
  }

 private:
  using Place = std::pair<std::size_t, std::size_t>;
  ActivationObserver& next_;
  std::map<std::string, Place> by_name_;
  std::map<Place, std::vector<Row>> rows_;
};

struct Collected {
  std::map<std::string, InputSums> by_weight;
  std::map<std::string, std::vector<Row>> rows;  // of what was asked for
  std::vector<Row> head;                         // the vocabulary's linear reads these
};

Collected collect(const TinyModel& model, CollectorOptions options,
                  const std::vector<std::string>& kept = {}) {
  const std::vector<StatisticsInput> inputs = statistics_inputs(model.graph);
  std::vector<InputSums> sums(inputs.size());
  std::vector<std::vector<float>> grams(inputs.size());
  options.with_gram = true;
  StatisticsCollector collector(
      model.graph, options,
      {.on_sums = [&](std::size_t i, InputSums found) { sums[i] = std::move(found); },
       .on_gram =
           [&](std::size_t i, std::uint64_t first, std::span<const float> values) {
             grams[i].resize(inputs[i].parts * triangle(inputs[i].width), -1.0f);
             std::ranges::copy(values, grams[i].begin() + static_cast<std::ptrdiff_t>(first));
           },
       .on_stage_end = {}});
  Recorder recorder(model.graph, collector);
  ExecutorOptions executor_options;
  executor_options.compute = options.compute;
  executor_options.threads = options.threads;
  executor_options.batch_tokens = 80;  // several batches
  const Executor executor(model.graph, model.weights, executor_options);
  const auto head = executor.forward(model.sequences, &recorder);
  Collected result;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    sums[i].gram = std::move(grams[i]);
    for (const std::string& weight : inputs[i].weights) result.by_weight[weight] = sums[i];
  }
  for (const std::string& weight : kept) result.rows[weight] = recorder.rows_of(weight);
  std::vector<float> row(static_cast<std::size_t>(model.graph.hidden_size));
  for (std::uint64_t t = 0; t < head->tokens(); ++t) {
    head->read(t, {row.data(), 1, row.size()});
    result.head.emplace_back(row.begin(), row.end());
  }
  return result;
}

// All of one part's sums against those of the rows.
void expect_sums(const InputSums& sums, std::size_t part, const std::vector<Row>& rows,
                 std::size_t width) {
  ASSERT_EQ(sums.counts[part], rows.size());
  std::vector<double> gram(width * width);
  Row abs(width);
  Row max(width);
  for (const Row& x : rows) {
    ASSERT_EQ(x.size(), width);
    for (std::size_t i = 0; i < width; ++i) {
      abs[i] += std::abs(x[i]);
      max[i] = std::max(max[i], std::abs(x[i]));
      for (std::size_t j = 0; j <= i; ++j) gram[i * width + j] += x[i] * x[j];
    }
  }
  const float* found = sums.gram.data() + part * triangle(width);
  for (std::size_t i = 0; i < width; ++i) {
    const std::size_t at = part * width + i;
    const double square = gram[i * width + i];
    ASSERT_NEAR(sums.sum_abs[at], abs[i], 1e-5 * abs[i]);
    ASSERT_NEAR(sums.sum_squares[at], square, 1e-5 * square);
    ASSERT_NEAR(static_cast<double>(sums.max_abs[at]), max[i], 1e-5 * max[i]);
    for (std::size_t j = 0; j <= i; ++j) {
      const double bound = 1e-5 * std::sqrt(square * gram[j * width + j]);
      ASSERT_NEAR(static_cast<double>(*found++), gram[i * width + j], bound) << i << " " << j;
    }
  }
}

// The two experts with the largest logits.
std::vector<std::size_t> best_two(const Row& logits) {
  std::vector<std::size_t> order(logits.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, std::greater{}, [&](std::size_t e) { return logits[e]; });
  EXPECT_GT(logits[order[1]] - logits[order[2]], 1e-5) << "a choice that rounding may change";
  order.resize(2);
  return order;
}

class Experts : public testing::TestWithParam<std::string> {};

TEST_P(Experts, StatisticsAreThoseOfTheRowsRoutedToEach) {
  const TinyModel model(GetParam());
  for (std::size_t layer = 0; layer < 2; ++layer) {
    const std::string block = "blk." + std::to_string(layer) + ".";
    const std::string router = block + "ffn_gate_inp.weight";
    const Collected found = collect(model, {.threads = 2}, {router});
    const auto& shape = model.graph.weights[model.id(block + "ffn_gate_exps.weight")].shape;
    const auto experts = static_cast<std::size_t>(shape[0]);
    const auto inner = static_cast<std::size_t>(shape[1]);
    std::vector<std::vector<Row>> in(experts);
    std::vector<std::vector<Row>> hidden(experts);
    for (const Row& x : found.rows.at(router)) {
      for (const std::size_t e : best_two(model.multiply(router, 0, experts, x))) {
        Row gate = model.multiply(block + "ffn_gate_exps.weight", e * inner, inner, x);
        const Row up = model.multiply(block + "ffn_up_exps.weight", e * inner, inner, x);
        for (std::size_t i = 0; i < inner; ++i) gate[i] *= up[i] / (1 + std::exp(-gate[i]));
        in[e].push_back(x);
        hidden[e].push_back(std::move(gate));
      }
    }
    std::uint64_t total = 0;
    for (std::size_t e = 0; e < experts; ++e) {
      total += in[e].size();
      for (const char* weight : {"ffn_gate_exps.weight", "ffn_up_exps.weight"}) {
        expect_sums(found.by_weight.at(block + weight), e, in[e], 64);
      }
      expect_sums(found.by_weight.at(block + "ffn_down_exps.weight"), e, hidden[e], inner);
    }
    EXPECT_EQ(total, 2 * model.sequences.tokens.size());
  }
}

TEST_P(Experts, MemoryAndThreadsDoNotChangeAValue) {
  const TinyModel model(GetParam());
  const TempDirectory directory;
  for (const ComputeType compute : {ComputeType::f32, ComputeType::bf16}) {
    const Collected want = collect(model, {.compute = compute, .threads = 1});
    // Nothing, the first input of a stage only, and all but the largest find room.
    for (const std::uint64_t memory : {0u, 40000u, 140000u}) {
      const Collected found = collect(
          model,
          {.compute = compute, .threads = 2, .gram_memory = memory, .scratch = directory.path()});
      for (const auto& [weight, sums] : want.by_weight) {
        const InputSums& same = found.by_weight.at(weight);
        ASSERT_EQ(same.counts, sums.counts) << weight;
        ASSERT_EQ(same.sum_squares, sums.sum_squares) << weight;
        ASSERT_EQ(same.gram, sums.gram) << weight;
      }
    }
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

INSTANTIATE_TEST_SUITE_P(Collector, Experts, testing::Values("mixtral", "qwen2_moe"),
                         [](const auto& test) { return test.param; });

TEST(Collector, HeadsHaveStatisticsOfTheirOwnColumns) {
  const TinyModel model("deepseek_v2_lite");
  constexpr std::size_t kHeads = 4;
  constexpr std::size_t kPlain = 12;  // columns of a query head without position,
  constexpr std::size_t kHead = 20;   // and all of them
  const Collected found = collect(model, {.threads = 2}, {"blk.0.attn_q.weight"});
  std::vector<std::vector<Row>> queries(kHeads);
  for (const Row& x : found.rows.at("blk.0.attn_q.weight")) {
    for (std::size_t h = 0; h < kHeads; ++h) {
      queries[h].push_back(model.multiply("blk.0.attn_q.weight", h * kHead, kPlain, x));
    }
  }
  for (std::size_t h = 0; h < kHeads; ++h) {
    expect_sums(found.by_weight.at("blk.0.attn_k_b.weight"), h, queries[h], kPlain);
  }
  const std::vector<std::uint64_t> all(kHeads, model.sequences.tokens.size());
  EXPECT_EQ(found.by_weight.at("blk.0.attn_v_b.weight").counts, all);
}

TEST(Collector, TheVocabularysLinearReadsTheLastHiddenStates) {
  const TinyModel model("mixtral");
  const Collected found = collect(model, {.threads = 2});
  EXPECT_EQ(found.head.size(), model.sequences.tokens.size());
  expect_sums(found.by_weight.at("output.weight"), 0, found.head, 64);
}

}  // namespace
}  // namespace qwodel
