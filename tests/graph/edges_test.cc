// The edges of real families' graphs: which linears share an input, what absorbs its scale (the
// groups of AWQ's authors, awq_gptq literature), and that a scale folded along them changes no
// logit.
#include "graph/edges.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "graph/executor.h"
#include "models/build_graph.h"
#include "tests/models/golden_spec.h"
#include "tests/models/recipe_weights.h"

namespace qwodel {
namespace {

// "blk.0.attn_q.weight" -> "attn_q"
std::string short_name(const Graph& graph, WeightId weight) {
  std::string name = graph.weights[weight].name;
  name.erase(name.rfind('.'));
  if (name.starts_with("blk.")) name.erase(0, name.find('.', 4) + 1);
  return name;
}

std::string absorber_name(const Graph& graph, const LinearGroup& input) {
  const auto absorber = scale_absorber(graph, input);
  if (!absorber) return "-";
  const Op& op = graph.stages[input.stage].ops[absorber->op];
  const auto* norm = std::get_if<NormOp>(&op.kind);
  std::string name = short_name(graph, norm != nullptr ? norm->weight : linear_weight(op));
  return absorber->per_expert ? name + " (each expert)" : name;
}

// "attn_norm > attn_q attn_k attn_v" per input of a stage.
std::vector<std::string> groups_of(const Graph& graph, std::size_t stage) {
  std::vector<std::string> groups;
  for (const LinearGroup& input : linear_groups(graph)) {
    if (input.stage != stage) continue;
    std::string text = absorber_name(graph, input) + " >";
    for (const std::size_t op : input.linears) {
      text += " " + short_name(graph, linear_weight(graph.stages[stage].ops[op]));
    }
    groups.push_back(text);
  }
  return groups;
}

using Groups = std::vector<std::string>;

void expect_groups(const std::string& model, std::size_t stage, const Groups& expected) {
  EXPECT_EQ(groups_of(build_graph(golden_spec(model)), stage), expected) << model;
}

TEST(Edges, LlamaHasTheFourGroups) {
  const Groups expected = {"attn_norm > attn_q attn_k attn_v", "attn_v > attn_output",
                           "ffn_norm > ffn_gate ffn_up", "ffn_up > ffn_down"};
  for (const char* model : {"llama", "llama_bias", "mistral", "qwen2", "qwen3", "gemma", "granite",
                            "internlm2", "minicpm", "smollm3"}) {
    expect_groups(model, 1, expected);
  }
  expect_groups("llama", 3, {"output_norm > output"});
}

TEST(Edges, TiedEmbeddingsTakeNoScale) { expect_groups("llama_tied", 3, {"- > token_embd"}); }

TEST(Edges, FusedProjectionsAbsorbInTheirPart) {
  expect_groups(
      "phi3", 1,
      {"attn_norm > attn_qkv", "attn_qkv > attn_output", "ffn_norm > ffn_up", "ffn_up > ffn_down"});
}

TEST(Edges, NothingPassesAnActivation) {
  const Groups expected = {"attn_norm > attn_qkv", "attn_qkv > attn_output", "ffn_norm > ffn_up",
                           "- > ffn_down"};
  for (const char* model : {"gpt2", "gpt_bigcode", "bloom", "gptneox", "mpt"}) {
    expect_groups(model, 1, expected);
  }
}

TEST(Edges, ParallelBlocksShareTheirInput) {
  expect_groups("command_r", 1,
                {"attn_norm > attn_q attn_k attn_v ffn_gate ffn_up", "attn_v > attn_output",
                 "ffn_up > ffn_down"});
  expect_groups(
      "phi2", 1,
      {"attn_norm > attn_q attn_k attn_v ffn_up", "attn_v > attn_output", "- > ffn_down"});
  expect_groups("falcon_mqa", 1,
                {"attn_norm > attn_qkv ffn_up", "attn_qkv > attn_output", "- > ffn_down"});
}

TEST(Edges, NormsAfterABlockAbsorbNothing) {
  expect_groups("olmo2", 1,
                {"- > attn_q attn_k attn_v", "attn_v > attn_output", "- > ffn_gate ffn_up",
                 "ffn_up > ffn_down"});
}

TEST(Edges, NormsWithoutWeightsAndClampsAbsorbNothing) {
  expect_groups(
      "olmo", 1,
      {"- > attn_q attn_k attn_v", "- > attn_output", "- > ffn_gate ffn_up", "ffn_up > ffn_down"});
}

TEST(Edges, ExpertsShareTheRoutersInput) {
  expect_groups("mixtral", 1,
                {"attn_norm > attn_q attn_k attn_v", "attn_v > attn_output",
                 "ffn_norm > ffn_gate_inp ffn_gate_exps ffn_up_exps",
                 "ffn_up_exps (each expert) > ffn_down_exps"});
  expect_groups("qwen2_moe", 1,
                {"attn_norm > attn_q attn_k attn_v", "attn_v > attn_output",
                 "ffn_norm > ffn_gate_inp ffn_gate_exps ffn_up_exps ffn_gate_shexp ffn_up_shexp "
                 "ffn_gate_inp_shexp",
                 "ffn_up_exps (each expert) > ffn_down_exps", "ffn_up_shexp > ffn_down_shexp"});
}

// Keys read the latent beside values, and the rotary part of a query does not commute.
TEST(Edges, LatentAttention) {
  expect_groups("deepseek_v3", 1,
                {"attn_norm > attn_q_a attn_kv_a_mqa", "attn_q_a_norm > attn_q_b", "- > attn_k_b",
                 "- > attn_v_b", "attn_v_b > attn_output", "ffn_norm > ffn_gate ffn_up",
                 "ffn_up > ffn_down"});
}

TEST(Edges, QueryHeadsThatShareAValueHeadShareScales) {
  const Graph graph = build_graph(golden_spec("llama"));  // 4 heads of 16, 2 value heads
  for (const LinearGroup& input : linear_groups(graph)) {
    if (short_name(graph, linear_weight(graph.stages[input.stage].ops[input.linears[0]])) !=
        "attn_output") {
      continue;
    }
    const auto absorber = scale_absorber(graph, input);
    ASSERT_TRUE(absorber);
    ASSERT_EQ(absorber->channel.size(), 64u);
    EXPECT_EQ(absorber->channel[0], 0u);
    EXPECT_EQ(absorber->channel[16], 0u);
    EXPECT_EQ(absorber->channel[32], 16u);
    EXPECT_EQ(absorber->channel[63], 31u);
  }
}

// ---- folding ------------------------------------------------------------------------------------

// A scale from 1/2 to 2 for a channel of what an expert (or the only part) makes.
float scale_of(std::uint64_t seed, std::uint64_t expert, std::uint64_t channel) {
  const std::uint64_t hash = recipe_hash(seed * 1000003 + expert * 65537 + channel);
  return std::exp2(static_cast<float>(hash >> 40) / static_cast<float>(1 << 23) - 1);
}

// Multiplies the columns of a linear, [..., in], or of experts with scales of their own.
void scale_columns(const Graph& graph, const Op& op, const ScaleAbsorber& absorber,
                   std::uint64_t seed, RecipeWeights& weights) {
  const WeightId id = linear_weight(op);
  const auto& shape = graph.weights[id].shape;
  const std::uint64_t in = shape.back();
  const std::uint64_t out = shape[shape.size() - 2];
  std::vector<float>& values = weights.values(id);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint64_t part = i / (in * out);
    const bool heads = std::holds_alternative<HeadLinearOp>(op.kind);
    const std::uint64_t column = i % in + (heads ? part * in : 0);
    const std::uint64_t expert = absorber.per_expert ? part : 0;
    values[i] *= scale_of(seed, expert, absorber.channel[column]);
  }
}

// Divides what makes the input: rows of a linear and its bias, or a norm's weight and bias, as far
// as they make columns of the input.
void divide_rows(const Graph& graph, const Op& op, const ScaleAbsorber& absorber,
                 std::uint64_t seed, RecipeWeights& weights) {
  const std::set<std::uint64_t> channels(absorber.channel.begin(), absorber.channel.end());
  std::vector<WeightId> ids = {linear_weight(op)};
  if (const auto* norm = std::get_if<NormOp>(&op.kind)) ids = {norm->weight, norm->bias};
  if (const auto* linear = std::get_if<LinearOp>(&op.kind)) ids.push_back(linear->bias);
  if (const auto* linear = std::get_if<ExpertLinearOp>(&op.kind)) ids.push_back(linear->bias);
  const bool is_norm = std::holds_alternative<NormOp>(op.kind);
  for (const WeightId id : ids) {
    if (id == kNoId) continue;
    const auto& shape = graph.weights[id].shape;
    const bool matrix = !is_norm && id == ids.front();
    const std::uint64_t in = matrix ? shape.back() : 1;
    std::vector<float>& values = weights.values(id);
    const std::uint64_t experts = absorber.per_expert ? shape.front() : 1;
    const std::uint64_t rows = values.size() / in / experts;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::uint64_t row = i / in;
      if (channels.contains(row % rows)) values[i] /= scale_of(seed, row / rows, row % rows);
    }
  }
}

std::vector<float> logits_of(const Graph& graph, const RecipeWeights& weights) {
  ExecutorOptions options;
  options.compute = ComputeType::f32;
  options.threads = 1;
  const Executor executor(graph, weights, options);
  TokenSequences tokens;
  tokens.append(recipe_tokens(12));
  const auto head = executor.forward(tokens);
  std::vector<float> logits(12 * graph.vocab_size);
  executor.logits(*head, 0, 0, MatrixView(logits.data(), 12, graph.vocab_size));
  return logits;
}

// Folds scales into every group that can take them; returns how many.
std::size_t fold_all(const Graph& graph, RecipeWeights& weights) {
  std::size_t folded = 0;
  for (const LinearGroup& input : linear_groups(graph)) {
    const auto absorber = scale_absorber(graph, input);
    if (!absorber) continue;
    const auto& ops = graph.stages[input.stage].ops;
    for (const std::size_t op : input.linears) {
      scale_columns(graph, ops[op], *absorber, folded, weights);
    }
    divide_rows(graph, ops[absorber->op], *absorber, folded, weights);
    ++folded;
  }
  return folded;
}

class Folding : public testing::TestWithParam<std::string> {};

TEST_P(Folding, KeepsTheLogits) {
  const ModelSpec spec = golden_spec(GetParam());
  const Graph graph = build_graph(spec);
  RecipeWeights weights(graph, spec, golden_tensors(GetParam()));
  const std::vector<float> before = logits_of(graph, weights);
  ASSERT_GE(fold_all(graph, weights), 3u);
  const std::vector<float> after = logits_of(graph, weights);
  const auto [low, high] = std::minmax_element(before.begin(), before.end());
  float largest = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    largest = std::max(largest, std::abs(after[i] - before[i]));
  }
  EXPECT_GT(largest, 0) << "nothing was folded";
  EXPECT_LT(largest, 1e-5f * (*high - *low));
}

INSTANTIATE_TEST_SUITE_P(Models, Folding,
                         testing::Values("llama", "llama_bias", "mixtral", "qwen2_moe", "qwen3_moe",
                                         "gemma2", "gemma3", "phi2", "phi3", "gpt2", "gptneox",
                                         "falcon_mha", "falcon_new_decoder", "bloom", "mpt",
                                         "starcoder2", "stablelm_bias", "olmo2", "granite",
                                         "granite_moe_shared", "command_r", "deepseek",
                                         "deepseek_v2_lite", "deepseek_v3"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace qwodel
