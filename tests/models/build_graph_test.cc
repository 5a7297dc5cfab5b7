// Every model under tests/golden/models has a graph, or an error that says it has none; metadata
// that contradict the tensors are refused.
#include "models/build_graph.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "qwodel/error.h"
#include "tests/models/golden_spec.h"

namespace qwodel {
namespace {

// Their config.json lacks what the class has no default for, or has one that contradicts the
// tensors (transformers refuses them, too).
const std::set<std::string> kContradictory = {
    "deepseek_v2_lite_sparse", "deepseek_v3_sparse", "gemma_sparse",    "gemma2_sparse",
    "gemma3_sparse",           "qwen3_sparse",       "qwen3_moe_sparse"};

class BuildGraph : public testing::TestWithParam<std::string> {};

TEST_P(BuildGraph, IsValidAndUsesEveryTensor) {
  const ModelSpec spec = golden_spec(GetParam());
  if (GetParam() == "bert_classifier") {
    EXPECT_THROW(build_graph(spec), FormatNotSupportedError);  // the classifier has no place
    return;
  }
  if (kContradictory.contains(GetParam())) {
    EXPECT_THROW(build_graph(spec), ValidationError);
    return;
  }
  const Graph graph = build_graph(spec);
  const std::size_t without_layers = graph.is_encoder ? 1 : 2;
  EXPECT_EQ(
      graph.stages.size(),
      spec.metadata.find_unsigned(spec.architecture + ".block_count").value() + without_layers);
  EXPECT_EQ(graph.is_encoder, spec.architecture == "bert");
}

INSTANTIATE_TEST_SUITE_P(Models, BuildGraph, testing::ValuesIn(golden_model_names()),
                         [](const auto& test) { return test.param; });

// ---- hostile metadata -------------------------------------------------------------------------

struct Edit {
  const char* name;
  const char* model;
  std::function<void(ModelSpec&)> apply;
  const char* named;  // the error says where
};

Edit count(const char* name, const char* model, const char* key, std::uint64_t value,
           const char* named = nullptr) {
  return {name, model,
          [key, value](ModelSpec& spec) {
            spec.metadata.set_u32(spec.architecture + "." + key, value);
          },
          named == nullptr ? key : named};
}

Edit number(const char* name, const char* model, const char* key, double value) {
  return {name, model,
          [key, value](ModelSpec& spec) {
            spec.metadata.set_f32(spec.architecture + "." + key, value);
          },
          key};
}

Edit shape(const char* name, const char* model, const char* tensor,
           std::vector<std::uint64_t> value) {
  return {name, model,
          [tensor, value](ModelSpec& spec) {
            for (ModelTensor& each : spec.tensors) {
              if (each.name == tensor) each.shape = value;
            }
          },
          tensor};
}

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

const std::vector<Edit> kHostile = {
    count("NoLayers", "llama", "block_count", 0),
    count("MoreLayersThanTensors", "llama", "block_count", 0x7FFFFFFF),
    count("OneLayerMore", "llama", "block_count", 3, "blk.2.attn_norm.weight"),
    count("CountBeyondInt", "llama", "block_count", 0xFFFFFFFF),
    count("OneLayerLess", "llama", "block_count", 1, "blk.1."),
    count("NoWidth", "llama", "embedding_length", 0),
    count("AnotherWidth", "llama", "embedding_length", 128, "token_embd.weight"),
    count("NoHeads", "llama", "attention.head_count", 0),
    count("HeadsBeyondWidth", "gpt2", "attention.head_count", 65),
    count("HugeHeads", "llama", "attention.head_count", 0x7FFFFFFF),
    count("NoKvHeads", "llama", "attention.head_count_kv", 0),
    count("KvHeadsNotADivisor", "llama", "attention.head_count_kv", 3, "attention.head_count"),
    count("OtherKvHeads", "llama", "attention.head_count_kv", 4, "blk.0.attn_k.weight"),
    count("NoHeadDim", "llama", "attention.key_length", 0),
    count("HugeHeadDim", "llama", "attention.key_length", 0x7FFFFFFF),
    count("LargeHeadDim", "llama", "attention.key_length", 1 << 20, "attn_q.weight"),
    count("HugeValueDim", "llama", "attention.value_length", 0x7FFFFFFF, "attn_output.weight"),
    count("RotaryBeyondHead", "llama", "rope.dimension_count", 18),
    count("RotaryOdd", "llama", "rope.dimension_count", 15),
    count("RotaryZero", "llama", "rope.dimension_count", 0),
    count("RotaryHuge", "llama", "rope.dimension_count", 0x7FFFFFFE),
    count("TooManyExpertsChosen", "mixtral", "expert_used_count", 5, "experts chosen"),
    count("NoExpertsChosen", "mixtral", "expert_used_count", 0),
    count("MoreExperts", "mixtral", "expert_count", 5, "blk.0.ffn_gate_"),
    count("NoExperts", "mixtral", "expert_count", 0, "blk.0."),
    count("NoExpertGroups", "deepseek_v3", "expert_group_count", 0),
    count("ExpertGroupsNotADivisor", "deepseek_v3", "expert_group_count", 2, "groups of experts"),
    count("LatentWidth", "deepseek_v3", "attention.value_length", 33, "attention"),
    count("RotaryBeyondLatentHead", "deepseek_v3", "rope.dimension_count", 20, "attention"),
    count("HugeFullKey", "deepseek_v3", "attention.key_length_mla", 0x7FFFFFFF,
          "attention.key_length"),
    count("ZeroFullKey", "deepseek_v3", "attention.key_length_mla", 0),
    number("BaseOfZero", "llama", "rope.freq_base", 0),
    number("BaseNan", "llama", "rope.freq_base", kNan),
    number("EpsilonNan", "llama", "attention.layer_norm_rms_epsilon", kNan),
    number("LinearFactorOfZero", "llama_linear_rope", "rope.scaling.factor", 0),
    number("YarnFactorNegative", "llama_yarn", "rope.scaling.factor", -4),
    number("YarnBetaOfZero", "llama_yarn", "rope.scaling.yarn_beta_fast", 0),
    count("YarnLengthOfZero", "llama_yarn", "rope.scaling.original_context_length", 0),
    number("LogitScaleOfZero", "granite", "logit_scale", 0),
    number("SoftcapNegative", "gemma2", "final_logit_softcapping", -1),
    shape("NormOfOtherWidth", "llama", "blk.0.attn_norm.weight", {65}),
    shape("NormAsMatrix", "llama", "blk.0.attn_norm.weight", {8, 8}),
    shape("QueryOfOtherWidth", "llama", "blk.1.attn_q.weight", {64, 63}),
    shape("QueryAsVector", "llama", "blk.1.attn_q.weight", {4096}),
    shape("QueryWithoutRows", "llama", "blk.1.attn_q.weight", {0, 64}),
    shape("OutputOfOtherVocabulary", "llama", "output.weight", {511, 64}),
    shape("EmbeddingAsVector", "llama", "token_embd.weight", {32768}),
    shape("EmbeddingWithoutRows", "llama_tied", "token_embd.weight", {0, 64}),
    shape("PositionsAsVector", "gpt2", "position_embd.weight", {64}),
    shape("ExpertsAsMatrix", "mixtral", "blk.0.ffn_up_exps.weight", {384, 64}),
    shape("BiasOfOtherWidth", "llama_bias", "blk.0.attn_q.bias", {64}),
    shape("HeadNormOfOtherWidth", "qwen3", "blk.0.attn_q_norm.weight", {31}),
    shape("HeadNormOfOtherHeads", "command_r", "blk.0.attn_q_norm.weight", {3, 16}),
};

class HostileModel : public testing::TestWithParam<Edit> {};

TEST_P(HostileModel, IsRefused) {
  ModelSpec spec = golden_spec(GetParam().model);
  ASSERT_NO_THROW(build_graph(spec));
  GetParam().apply(spec);
  try {
    build_graph(spec);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().named), std::string::npos) << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(Metadata, HostileModel, testing::ValuesIn(kHostile),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(BuildGraph, FactorsThatAreNoFactorsAreRefused) {
  ModelSpec spec = golden_spec("llama3_rope");
  for (ModelTensor& tensor : spec.tensors) {
    if (tensor.name == "rope_freqs.weight") tensor.generated[0] = 0;
  }
  EXPECT_THROW(build_graph(spec), ValidationError);
  for (ModelTensor& tensor : spec.tensors) {
    if (tensor.name == "rope_freqs.weight") tensor.generated.resize(3);
  }
  EXPECT_THROW(build_graph(spec), ValidationError);
}

TEST(BuildGraph, AnArchitectureWithoutGraphNamesThoseThatHaveOne) {
  ModelSpec spec = golden_spec("llama");
  spec.architecture = "mamba";
  try {
    build_graph(spec);
    FAIL() << "accepted";
  } catch (const FormatNotSupportedError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("mamba"), std::string::npos) << text;
    EXPECT_NE(text.find("qwen3moe"), std::string::npos) << text;
    EXPECT_EQ(error.code(), ErrorCode::not_supported);
  }
}

TEST(BuildGraph, ATensorWithoutPlaceIsRefused) {
  ModelSpec spec = golden_spec("llama");
  ModelTensor extra;
  extra.name = "blk.0.attn_sinks.weight";
  extra.shape = {4};
  spec.tensors.push_back(extra);
  try {
    build_graph(spec);
    FAIL() << "accepted";
  } catch (const FormatNotSupportedError& error) {
    EXPECT_NE(std::string(error.what()).find(extra.name), std::string::npos) << error.what();
  }
}

TEST(BuildGraph, UnknownActivationsAndScalingsAreRefused) {
  ModelSpec spec = golden_spec("llama");
  spec.hints.activation = "quick_gelu";
  EXPECT_THROW(build_graph(spec), FormatNotSupportedError);
  spec = golden_spec("llama");
  spec.metadata.set_string("llama.rope.scaling.type", "spiral");
  EXPECT_THROW(build_graph(spec), FormatNotSupportedError);
  spec = golden_spec("mixtral");
  spec.metadata.set_u32("llama.expert_gating_func", 9);
  EXPECT_THROW(build_graph(spec), FormatNotSupportedError);
}

}  // namespace
}  // namespace qwodel
