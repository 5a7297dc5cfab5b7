// The executor on a real model: the cache, batches and threads do not change what it computes, and
// bad input is refused by name.
#include "graph/executor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "graph/kv_cache.h"
#include "pipeline/running_model.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

RunOptions stories(const std::string& compute = "f32") {
  RunOptions options;
  options.model = std::filesystem::path(QWODEL_SOURCE_DIR) / "models" / "stories260K";
  options.compute = compute;
  return options;
}

std::vector<std::uint32_t> ids(std::size_t count, std::uint32_t step = 7) {
  std::vector<std::uint32_t> tokens(count);
  for (std::size_t i = 0; i < count; ++i) {
    tokens[i] = static_cast<std::uint32_t>((i * step * 31 + 3) % 512);
  }
  return tokens;
}

std::vector<float> all_logits(const RunningModel& model, const TokenSequences& sequences,
                              const ExecutorOptions& options) {
  const Executor executor(model.graph, model.weights, options);
  const auto hidden = executor.forward(sequences);
  const auto vocab = static_cast<std::size_t>(model.graph.vocab_size);
  std::vector<float> logits(sequences.tokens.size() * vocab);
  executor.logits(*hidden, 0, 0, {logits.data(), sequences.tokens.size(), vocab});
  return logits;
}

float range_of(const std::vector<float>& values) {
  const auto [low, high] = std::ranges::minmax(values);
  return high - low;
}

TEST(Executor, TheCacheGivesThePrefillsLogits) {
  const RunningModel model(stories());
  TokenSequences sequences;
  sequences.append(ids(40));
  const auto want =
      all_logits(model, sequences, executor_options(stories(), model.graph.hidden_size));
  const float range = range_of(want);
  ASSERT_GT(range, 1.0f);
  const Executor executor(model.graph, model.weights,
                          executor_options(stories(), model.graph.hidden_size));
  KvCache cache;
  const std::span<const std::uint32_t> tokens(sequences.tokens);
  executor.extend(cache, tokens.first(9));
  const auto vocab = static_cast<std::size_t>(model.graph.vocab_size);
  for (std::size_t i = 9; i < tokens.size(); ++i) {
    const auto got = executor.extend(cache, tokens.subspan(i, 1));
    for (std::size_t v = 0; v < vocab; ++v) {
      ASSERT_NEAR(got[v], want[i * vocab + v], 1e-5f * range) << "token " << i << ", column " << v;
    }
  }
  EXPECT_EQ(cache.length(), tokens.size());
}

TEST(Executor, ThreadsAndTheHiddenFileDoNotChangeAByte) {
  const RunningModel model(stories());
  TokenSequences sequences;
  for (const std::size_t length : {std::size_t{70}, std::size_t{300}, std::size_t{5}})
    sequences.append(ids(length, 5));
  for (const ComputeType compute : {ComputeType::f32, ComputeType::bf16}) {
    ExecutorOptions options;
    options.compute = compute;
    options.threads = 1;
    options.batch_tokens = 300;
    const auto one = all_logits(model, sequences, options);
    options.threads = 2;
    options.hidden_memory = 0;
    EXPECT_EQ(all_logits(model, sequences, options), one);
  }
}

TEST(Executor, SequencesDoNotSeeEachOther) {
  const RunningModel model(stories());
  TokenSequences both;
  both.append(ids(60, 3));
  both.append(ids(50, 11));
  TokenSequences second;
  second.append(ids(50, 11));
  const auto options = executor_options(stories(), model.graph.hidden_size);
  const auto together = all_logits(model, both, options);
  const auto alone = all_logits(model, second, options);
  const std::size_t skipped = together.size() - alone.size();
  const float range = range_of(alone);
  for (std::size_t i = 0; i < alone.size(); ++i) {
    ASSERT_NEAR(together[skipped + i], alone[i], 1e-5f * range);
  }
}

TEST(Executor, Bf16StaysCloseToF32) {
  const RunningModel model(stories());
  TokenSequences sequences;
  sequences.append(ids(300));
  ExecutorOptions options;
  options.compute = ComputeType::f32;
  const auto exact = all_logits(model, sequences, options);
  options.compute = ComputeType::bf16;
  const auto rough = all_logits(model, sequences, options);
  float error = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    error = std::max(error, std::abs(exact[i] - rough[i]));
  }
  EXPECT_GT(error, 0.0f);  // it is another precision
  EXPECT_LT(error, 0.02f * range_of(exact));
}

// Quarters of the cap, of hidden states and weights for each of two passes.
TEST(Executor, AMemoryCapMakesStoresAndBatchesSmaller) {
  const ExecutorOptions defaults = executor_options(stories(), 768);
  RunOptions run = stories();
  run.max_memory = std::uint64_t{256} << 20;
  const ExecutorOptions capped = executor_options(run, 768);
  EXPECT_EQ(capped.hidden_memory, std::uint64_t{32} << 20);
  EXPECT_EQ(capped.weight_memory, std::uint64_t{32} << 20);
  EXPECT_LT(capped.batch_tokens, defaults.batch_tokens);
  EXPECT_GT(capped.batch_tokens, 512u);
  run.max_memory = std::uint64_t{1} << 50;
  const ExecutorOptions ample = executor_options(run, 768);
  EXPECT_EQ(ample.hidden_memory, defaults.hidden_memory);
  EXPECT_EQ(ample.weight_memory, defaults.weight_memory);
  EXPECT_EQ(ample.batch_tokens, defaults.batch_tokens);
}

TEST(Executor, RefusesTokensOutOfRange) {
  const RunningModel model(stories());
  const Executor executor(model.graph, model.weights,
                          executor_options(stories(), model.graph.hidden_size));
  TokenSequences sequences;
  sequences.append(std::vector<std::uint32_t>{1, 512});
  EXPECT_THROW(executor.forward(sequences), ValidationError);
  EXPECT_THROW(executor.forward({}), ValidationError);
}

// Gives the weights of another, but NaN for one.
class DamagedWeights final : public GraphWeights {
 public:
  DamagedWeights(const GraphWeights& source, WeightId damaged)
      : source_(source), damaged_(damaged) {}
  void read(WeightId weight, std::uint64_t first, std::span<float> out) const override {
    source_.read(weight, first, out);
    if (weight == damaged_) out[0] = std::numeric_limits<float>::quiet_NaN();
  }
  void will_need(WeightId) const override {}
  void done_with(WeightId) const override {}

 private:
  const GraphWeights& source_;
  WeightId damaged_;
};

TEST(Executor, NamesTheStageWhoseActivationsAreNotFinite) {
  const RunningModel model(stories());
  const auto weight = std::ranges::find(model.graph.weights, "blk.2.ffn_down.weight",
                                        [](const GraphWeight& w) { return w.name; });
  ASSERT_NE(weight, model.graph.weights.end());
  const DamagedWeights damaged(model.weights,
                               static_cast<WeightId>(weight - model.graph.weights.begin()));
  const Executor executor(model.graph, damaged,
                          executor_options(stories(), model.graph.hidden_size));
  TokenSequences sequences;
  sequences.append(ids(20));
  try {
    executor.forward(sequences);
    FAIL() << "NaN went through";
  } catch (const ValidationError& error) {
    EXPECT_NE(std::string(error.what()).find("layer 2"), std::string::npos) << error.what();
  }
}

TEST(Executor, StopsWhenCancelled) {
  const RunningModel model(stories());
  CancelToken cancel;
  cancel.cancel();
  ExecutorOptions options = executor_options(stories(), model.graph.hidden_size);
  options.cancel = &cancel;
  const Executor executor(model.graph, model.weights, options);
  TokenSequences sequences;
  sequences.append(ids(20));
  try {
    executor.forward(sequences);
    FAIL() << "it did not stop";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::interrupted);
  }
}

}  // namespace
}  // namespace qwodel
