// Scales that do and that do not leave a layer as it is.
#include "pipeline/fold_check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "models/build_graph.h"
#include "pipeline/fold_weights.h"
#include "tests/formats/temp_directory.h"
#include "tests/pipeline/tiny_llama.h"

namespace qwodel {
namespace {

class FoldCheck : public testing::Test {
 protected:
  FoldCheck() {
    TinyLlama llama;
    // Large enough that SiLU bends.
    llama.edit = [](const std::string& name, std::vector<float>& values) {
      if (name.find("gate_proj") == std::string::npos) return;
      for (float& value : values) value *= 40;
    };
    llama.write(temporary_.path() / "model");
    model_ = std::make_unique<SourceModel>(temporary_.path() / "model", ModelOptions{});
    graph_ = build_graph(model_->spec);
    std::vector<SourceTensor> tensors;
    for (const auto& tensor : model_->weights->tensors()) {
      tensors.push_back({tensor->name(), tensor->shape()});
    }
    plan_ = plan_linears(model_->spec, graph_, tensors, {.group_size = 32});
    folds_.columns.resize(plan_.linears.size());
    folds_.rows.resize(plan_.linears.size());
    folds_.fold_of.resize(plan_.linears.size());
  }

  LinearTask task() const { return {.model = *model_, .graph = graph_, .plan = plan_}; }

  std::size_t linear(const std::string& module) const {
    const auto found = std::ranges::find(plan_.linears, module, &PlannedLinear::module);
    EXPECT_NE(found, plan_.linears.end()) << module;
    return static_cast<std::size_t>(found - plan_.linears.begin());
  }

  static std::vector<float> scales(std::uint64_t count) {
    std::vector<float> values;
    for (std::uint64_t i = 0; i < count; ++i)
      values.push_back(0.5f + 0.1f * static_cast<float>(i % 20));
    return values;
  }

  // Columns of one linear multiplied, rows of another divided.
  void fold(std::size_t layer, const std::string& divided, const std::string& scaled) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    AwqFold made{.reader = scaled, .absorber = divided};
    made.stage = layer + 1;
    made.scaled = {linear(prefix + scaled)};
    made.divided = linear(prefix + divided);
    const std::vector<float> s = scales(plan_.linears[made.scaled[0]].in_features);
    folds_.columns[made.scaled[0]] = s;
    folds_.rows[*made.divided] = s;
    folds_.folds.push_back(made);
  }

  TempDirectory temporary_;
  std::unique_ptr<SourceModel> model_;
  Graph graph_;
  LinearPlan plan_;
  AwqFolds folds_;
};

TEST_F(FoldCheck, LeavesScalesThatChangeNothing) {
  fold(0, "mlp.up_proj", "mlp.down_proj");
  fold(1, "self_attn.v_proj", "self_attn.o_proj");
  check_folds(task(), folds_);
  for (const AwqFold& made : folds_.folds) {
    EXPECT_FALSE(made.refused) << made.reader;
    EXPECT_GT(made.change, 0) << made.reader;
    EXPECT_LT(made.change, 1e-5) << made.reader;
    EXPECT_FALSE(folds_.columns[made.scaled[0]].empty());
    EXPECT_FALSE(folds_.rows[*made.divided].empty());
  }
  EXPECT_TRUE(fold_warnings(folds_).empty());
}

// Between the gate and what reads it is a SiLU, which does not commute with scales.
TEST_F(FoldCheck, TakesBackScalesAcrossAnActivation) {
  fold(0, "self_attn.v_proj", "self_attn.o_proj");
  fold(0, "mlp.gate_proj", "mlp.down_proj");
  check_folds(task(), folds_);
  const AwqFold& good = folds_.folds[0];
  const AwqFold& broken = folds_.folds[1];
  EXPECT_FALSE(good.refused);
  EXPECT_LT(good.change, 1e-5);
  EXPECT_FALSE(folds_.columns[good.scaled[0]].empty());
  EXPECT_TRUE(broken.refused);
  EXPECT_GT(broken.change, kLargestFoldChange);
  EXPECT_TRUE(folds_.columns[broken.scaled[0]].empty());
  EXPECT_TRUE(folds_.rows[*broken.divided].empty());
  ASSERT_EQ(fold_warnings(folds_).size(), 1u);
  EXPECT_NE(fold_warnings(folds_)[0].find("mlp.down_proj"), std::string::npos);
}

// A norm without the scale that its readers took; a scale that overflows.
TEST_F(FoldCheck, TakesBackNormsThatDoNotFit) {
  const auto& sources = model_->spec.sources;
  const auto source = [&](const char* name) {
    return static_cast<std::uint32_t>(std::ranges::find(sources, name) - sources.begin());
  };
  AwqFold lost{.reader = "gate", .absorber = "norm"};
  lost.stage = 1;
  lost.scaled = {linear("model.layers.0.mlp.gate_proj")};  // but not up_proj
  lost.replaced = {source("model.layers.0.post_attention_layernorm.weight")};
  folds_.columns[lost.scaled[0]] = std::vector<float>(256, 2.0f);
  std::vector<float> halved(256);
  model_->weights->find("model.layers.0.post_attention_layernorm.weight")->read(0, halved);
  for (float& value : halved) value /= 2;
  folds_.replaced[lost.replaced[0]] = halved;
  folds_.folds.push_back(lost);
  AwqFold huge{.reader = "q", .absorber = "norm"};
  huge.stage = 2;
  huge.scaled = {linear("model.layers.1.self_attn.q_proj")};
  folds_.columns[huge.scaled[0]] = std::vector<float>(256, std::numeric_limits<float>::infinity());
  folds_.folds.push_back(huge);
  check_folds(task(), folds_);
  EXPECT_TRUE(folds_.folds[0].refused);
  EXPECT_TRUE(folds_.folds[1].refused);
  EXPECT_TRUE(folds_.replaced.empty());
}

}  // namespace
}  // namespace qwodel
