// Every model under tests/golden/models has a graph, or an error that says it has none; metadata
// that contradict the tensors are refused.
#include "models/build_graph.h"

#include <gtest/gtest.h>

#include <set>

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
  if (spec.architecture == "bert") {
    EXPECT_THROW(build_graph(spec), FormatNotSupportedError);
    return;
  }
  if (kContradictory.contains(GetParam())) {
    EXPECT_THROW(build_graph(spec), ValidationError);
    return;
  }
  const Graph graph = build_graph(spec);
  EXPECT_EQ(graph.stages.size(),
            spec.metadata.find_unsigned(spec.architecture + ".block_count").value() + 2);
}

INSTANTIATE_TEST_SUITE_P(Models, BuildGraph, testing::ValuesIn(golden_model_names()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace qwodel
