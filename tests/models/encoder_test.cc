// Hidden states of tiny encoders against transformers in single precision
// (tools/golden/make_hidden_goldens.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "graph/executor.h"
#include "graph/head.h"
#include "models/build_graph.h"
#include "qwodel/error.h"
#include "tests/models/golden_spec.h"
#include "tests/models/recipe_weights.h"

namespace qwodel {
namespace {

double largest_error(const std::string& name, const Json& golden, const Graph& graph) {
  const ModelSpec spec = golden_spec(name);
  const RecipeWeights weights(graph, spec, golden_tensors(name));
  ExecutorOptions options;
  options.compute = ComputeType::f32;
  options.threads = 1;
  const Executor executor(graph, weights, options);
  const auto width = static_cast<std::size_t>(graph.hidden_size);
  const std::size_t step = golden["column_step"];
  double largest = 0;
  for (const Json& sequence : golden["sequences"]) {
    TokenSequences tokens;
    tokens.append(recipe_tokens(sequence["length"]));
    const auto hidden = executor.forward(tokens);
    for (std::size_t i = 0; i < sequence["positions"].size(); ++i) {
      std::vector<float> row(width);
      hidden->read(sequence["positions"][i], MatrixView(row.data(), 1, width));
      const Json& expected = sequence["hidden"][i];
      for (std::size_t k = 0; k < expected.size(); ++k) {
        largest = std::max(largest, std::abs(double{row.at(k * step)} - expected[k].get<double>()));
      }
    }
  }
  return largest / golden["range"].get<double>();
}

class Encoder : public testing::TestWithParam<std::string> {
 protected:
  Json golden() const {
    return read_json(model_goldens().parent_path() / "hidden" / (GetParam() + ".json"));
  }
};

TEST_P(Encoder, HiddenStatesEqualTransformers) {
  const Json expected = golden();
  ASSERT_GT(expected["range"].get<double>(), 0.5);
  EXPECT_LT(largest_error(GetParam(), expected, build_graph(golden_spec(GetParam()))), 1e-5);
}

TEST_P(Encoder, CausalAttentionWouldShow) {
  Graph graph = build_graph(golden_spec(GetParam()));
  for (Stage& stage : graph.stages) {
    for (Op& op : stage.ops) {
      if (auto* attention = std::get_if<AttentionOp>(&op.kind)) attention->causal = true;
    }
  }
  EXPECT_GT(largest_error(GetParam(), golden(), graph), 1e-3);
}

TEST_P(Encoder, HasNoLogits) {
  const Graph graph = build_graph(golden_spec(GetParam()));
  EXPECT_THROW(require_logits(graph, "model"), FormatNotSupportedError);
}

INSTANTIATE_TEST_SUITE_P(Models, Encoder,
                         testing::Values("bert", "bert_old_names", "roberta", "distilbert"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace qwodel
