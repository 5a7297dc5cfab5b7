// validate_graph() refuses every graph that an executor could not run safely.
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>

#include "graph/graph.h"
#include "models/build_graph.h"
#include "qwodel/error.h"
#include "tests/models/golden_spec.h"

namespace qwodel {
namespace {

Graph dense() { return build_graph(golden_spec("llama")); }
Graph experts() { return build_graph(golden_spec("deepseek_v2_lite")); }

template <class Kind>
Kind& first(Graph& graph) {
  for (Stage& stage : graph.stages) {
    for (Op& op : stage.ops) {
      if (auto* kind = std::get_if<Kind>(&op.kind)) return *kind;
    }
  }
  throw std::logic_error("no such operation");
}

template <class Kind>
Op& first_op(Graph& graph) {
  for (Stage& stage : graph.stages) {
    for (Op& op : stage.ops) {
      if (std::holds_alternative<Kind>(op.kind)) return op;
    }
  }
  throw std::logic_error("no such operation");
}

struct Damage {
  const char* name;
  Graph (*model)();
  std::function<void(Graph&)> apply;
};

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr std::uint64_t kHuge = std::numeric_limits<std::uint64_t>::max();

const std::vector<Damage> kDamages = {
    {"NoStages", dense, [](Graph& g) { g.stages.clear(); }},
    {"NoOperations", dense, [](Graph& g) { g.stages[1].ops.clear(); }},
    {"EmptyWeight", dense, [](Graph& g) { g.weights[1].shape = {0}; }},
    {"OverflowingWeight", dense, [](Graph& g) { g.weights[1].shape = {kHuge, kHuge}; }},
    {"WeightOutOfRange", dense, [](Graph& g) { first<LinearOp>(g).weight = 1000; }},
    {"BiasOfAnotherShape", dense, [](Graph& g) { first<LinearOp>(g).bias = 0; }},
    {"InputOutOfRange", dense, [](Graph& g) { first_op<LinearOp>(g).inputs[0] = 1000; }},
    {"InputNotYetComputed", dense,
     [](Graph& g) { first_op<LinearOp>(g).inputs[0] = g.stages[1].output; }},
    {"OutputOutOfRange", dense, [](Graph& g) { first_op<LinearOp>(g).output = 1000; }},
    {"AssignedTwice", dense, [](Graph& g) { first_op<LinearOp>(g).output = 0; }},
    {"MissingInput", dense, [](Graph& g) { first_op<AttentionOp>(g).inputs.pop_back(); }},
    {"ZeroWidth", dense, [](Graph& g) { g.stages[1].values[1].width = 0; }},
    {"HugeWidth", dense, [](Graph& g) { g.stages[1].values[1].width = kHuge; }},
    {"WidthThatNothingMakes", dense, [](Graph& g) { g.stages[1].values[2].width += 1; }},
    {"StageWithoutInput", dense, [](Graph& g) { g.stages[1].input = kNoId; }},
    {"FirstStageWithInput", dense, [](Graph& g) { g.stages[0].input = 0; }},
    {"StageOutputOutOfRange", dense, [](Graph& g) { g.stages[1].output = 1000; }},
    {"EmbeddingInALayer", dense,
     [](Graph& g) {
       Op& op = g.stages[1].ops[0];
       op.kind = EmbeddingOp{0};
       op.inputs.clear();
     }},
    {"NegativeEpsilon", dense, [](Graph& g) { first<NormOp>(g).epsilon = -1; }},
    {"NormGroupThatDoesNotDivide", dense, [](Graph& g) { first<NormOp>(g).group = 7; }},
    {"RotaryHeadOfZero", dense, [](Graph& g) { first<RopeOp>(g).head_dim = 0; }},
    {"RotaryBeyondHead", dense, [](Graph& g) { first<RopeOp>(g).frequencies.resize(9); }},
    {"RotaryFirstBeyondHead", dense, [](Graph& g) { first<RopeOp>(g).first = kHuge; }},
    {"RotaryWithoutFrequencies", dense, [](Graph& g) { first<RopeOp>(g).frequencies.clear(); }},
    {"RotaryNan", dense, [](Graph& g) { first<RopeOp>(g).frequencies[0] = kNan; }},
    {"FewerLongFrequencies", dense, [](Graph& g) { first<RopeOp>(g).long_frequencies = {1}; }},
    {"NoHeads", dense, [](Graph& g) { first<AttentionOp>(g).heads = 0; }},
    {"NoKvHeads", dense, [](Graph& g) { first<AttentionOp>(g).kv_heads = 0; }},
    {"HeadsNotAMultiple", dense, [](Graph& g) { first<AttentionOp>(g).kv_heads = 3; }},
    {"HeadDimOverflow", dense,
     [](Graph& g) { first<AttentionOp>(g).key_dim = (kHuge >> 2) + 1 + 16; }},
    {"ValueDimOfZero", dense, [](Graph& g) { first<AttentionOp>(g).value_dim = 0; }},
    {"SlopesOfOtherHeads", dense, [](Graph& g) { first<AttentionOp>(g).alibi_slopes = {1}; }},
    {"NegativeSoftcap", dense, [](Graph& g) { first<AttentionOp>(g).softcap = -1; }},
    {"NanScale", dense, [](Graph& g) { first<AttentionOp>(g).scale = kNan; }},
    {"SliceOutOfPart", experts, [](Graph& g) { first<SliceOp>(g).first = kHuge; }},
    {"SliceOfZeroGroups", experts, [](Graph& g) { first<SliceOp>(g).groups = 0; }},
    {"ConcatOfZeroGroups", experts, [](Graph& g) { first<ConcatOp>(g).groups = 0; }},
    {"HeadLinearOfOtherHeads", experts, [](Graph& g) { first<HeadLinearOp>(g).weight = 0; }},
    {"MoreChosenThanExperts", experts, [](Graph& g) { first<RouteOp>(g).top_k = 4; }},
    {"NoneChosen", experts, [](Graph& g) { first<RouteOp>(g).top_k = 0; }},
    {"NoGroups", experts, [](Graph& g) { first<RouteOp>(g).groups = 0; }},
    {"GroupsThatDoNotDivide", experts, [](Graph& g) { first<RouteOp>(g).groups = 2; }},
    {"MoreGroupsSearchedThanThereAre", experts, [](Graph& g) { first<RouteOp>(g).top_groups = 2; }},
    {"FewerExpertsInGroupsThanChosen", experts, [](Graph& g) { first<RouteOp>(g).groups = 3; }},
    {"ExpertsWithoutRouting", experts,
     [](Graph& g) {
       first_op<ExpertLinearOp>(g).inputs[1] = first_op<ExpertLinearOp>(g).inputs[0];
     }},
    {"CombineOfTokenRows", experts,
     [](Graph& g) {
       Op& op = first_op<CombineOp>(g);
       op.inputs[0] = first_op<ExpertLinearOp>(g).inputs[0];
     }},
    {"RoutedRowsAreNoHiddenState", experts,
     [](Graph& g) { g.stages[2].output = first_op<ExpertLinearOp>(g).output; }},
    {"NormAfterTheLogits", dense,
     [](Graph& g) {
       Stage& head = g.stages.back();
       head.values.push_back({g.vocab_size, RowKind::tokens});
       const auto last = static_cast<ValueId>(head.values.size() - 1);
       head.ops.push_back({NormOp{}, {head.output}, last});
       head.output = last;
     }},
};

class ValidateGraph : public testing::TestWithParam<Damage> {};

TEST_P(ValidateGraph, Refuses) {
  Graph graph = GetParam().model();
  ASSERT_NO_THROW(validate_graph(graph, "model"));
  GetParam().apply(graph);
  try {
    validate_graph(graph, "model");
    FAIL() << "accepted";
  } catch (const ValidationError& error) {
    EXPECT_EQ(std::string(error.what()).find("model"), 0u) << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(Graphs, ValidateGraph, testing::ValuesIn(kDamages),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace qwodel
